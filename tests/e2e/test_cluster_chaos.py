"""Five hosts with certificates on bad days: killed, stopped and cut off at random while users work; nothing is lost.

The seed is printed; MEGATOOLS_CHAOS_SEED repeats it, as far as the machine's timing allows.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.chaos import NAMESPACE, Client, Ledger, Promised, Trouble, conversation, errors_of, numbers
from tests.support.cluster import Cluster, cluster
from tests.support.daemon import Daemon
from tests.support.enrolling import enrol
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64", "ovs-vswitchd", "ovsdb-server")]

HOSTS = 5
HEALED_S = 120.0
VLANS = ("lan1", "lan2", "lan3", "lan4", "lan5", "lan6")
COLUMNS = ("name", "uuid", "state", "tags", "vlan")
FLAGS = ("-mesh-timeout", "4", "-level", "info")
PREPARED = ("vm config memory 64", "vm config vga none", "vm config backchannel false", "vm config tags {}")

Row = dict[str, str]


@pytest.mark.timeout(480)
@pytest.mark.parametrize("length_s", [15.0, pytest.param(60.0, marks=pytest.mark.full)])
def test_nothing_is_lost_or_doubled_whatever_happens_to_the_hosts(length_s: float) -> None:
    seed = int(os.environ.get("MEGATOOLS_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"seed {seed}")
    with cluster(HOSTS, flags=FLAGS) as knights:
        knights.start()
        enrol(knights)
        prepare(knights)
        ledger = Ledger()
        troubles = make_chaos(knights, ledger, seed, length_s)
        print(f"{ledger.counts}\n" + "\n".join(troubles))
        try:
            knights.wait_for_members(timeout_s=HEALED_S)
            eventually(lambda: differences(knights, ledger))
            launch_queues(knights, ledger)
            eventually(lambda: differences(knights, ledger))
        except AssertionError:
            print("\n".join(ledger.log))
            keep_logs(knights, seed)
            raise
        assert [daemon.log_text() for daemon in knights.daemons if "Traceback" in daemon.log_text()] == []
        assert ledger.vms and ledger.aliases
        leave_nothing(knights)


def prepare(knights: Cluster) -> None:
    """A namespace over all hosts, and the same small VMs wherever they are launched from."""
    hosts = f"kn[1-{HOSTS}]"
    knights.daemons[0].ask(f"namespace {NAMESPACE} ns add-hosts {hosts}")
    eventually(lambda: [text for text in knights.ask_all(f"namespace {NAMESPACE} ns hosts") if hosts not in text])
    for line in PREPARED:
        knights.ask_all(f"namespace {NAMESPACE} {line}")


def make_chaos(knights: Cluster, ledger: Ledger, seed: int, length_s: float) -> list[str]:
    """Two users at two hosts, and two that make trouble on all, for some time; returns what trouble there was."""
    over, free, lock = threading.Event(), set(range(HOSTS)), threading.Lock()
    clients = [
        Client(name, daemon, ledger, random.Random(f"{seed}{name}"), VLANS)
        for name, daemon in zip("ab", knights.daemons[1:3], strict=True)
    ]
    troubles = [Trouble(knights, random.Random(f"{seed}{number}"), free, lock) for number in range(2)]
    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(each.work, over) for each in (*clients, *troubles)]
        try:
            deadline = time.monotonic() + length_s
            while time.monotonic() < deadline and not any(end.done() for end in ends):
                time.sleep(0.05)
        finally:
            over.set()
        for end in ends:
            end.result()
    return sorted(line for trouble in troubles for line in trouble.log)


def eventually(wrong: Callable[[], list[str]]) -> None:
    """Wait until nothing is wrong."""
    deadline = time.monotonic() + HEALED_S
    while found := wrong():
        assert time.monotonic() < deadline, "\n".join(found)
        time.sleep(0.2)


def differences(knights: Cluster, ledger: Ledger) -> list[str]:
    """What is not as it was promised."""
    views = knights.each(view)
    found = [text for _, errors in views for text in errors]
    first = views[0][0]
    for name, (rows, _) in zip(knights.names, views, strict=True):
        if rows != first:
            found.append(f"{name} sees {sorted(rows, key=str)}, {knights.names[0]} sees {sorted(first, key=str)}")
    found += broken_promises(first, ledger) + wrong_processes(knights, first) + wrong_numbers(knights, first, ledger)
    return found


def view(daemon: Daemon) -> tuple[list[Row], list[str]]:
    """The VMs of all hosts as one node shows them, and what went wrong."""
    reply = conversation(daemon, f".columns {','.join(COLUMNS)} vm info")
    if reply is None:
        return [], ["a daemon does not answer"]
    rows: list[Row] = []
    for each in reply:
        table = each["Tabular"] or []
        assert isinstance(table, list)
        rows += [dict(zip(COLUMNS, row, strict=True)) | {"host": str(each["Host"])} for row in table]
    return sorted(rows, key=lambda row: row["uuid"]), [text for text in [errors_of(reply)] if text]


def broken_promises(rows: list[Row], ledger: Ledger) -> list[str]:
    """VMs that are there twice, that nobody launched, or that are not what was promised."""
    found = [f"unknown vm {row}" for row in rows if row["name"] not in ledger.vms]
    for name, promised in ledger.vms.items():
        own = [row for row in rows if row["name"] == name]
        if len(own) > 1:
            found.append(f"vm {name} is doubled: {own}")
        elif own and (promised.flushed == "yes" or promised.launched == "queued"):
            found.append(f"{promised} is there: {own}")
        elif not own and promised.launched == "yes" and promised.flushed == "no":
            found.append(f"vm {name} is lost: {promised}")
        elif own and promised.launched == "yes":
            found += [f"{text}: {promised} {own}" for text in wrong_state(own[0], promised)]
    return found


def wrong_state(row: Row, promised: Promised) -> list[str]:
    """What is wrong with a VM that is there."""
    states = {"yes": ("QUIT",), "maybe": ("QUIT", "BUILDING"), "no": ("BUILDING",)}[promised.killed]
    found = [] if row["state"] in states else [f"vm {row['name']} is {row['state']}"]
    tags = dict(re.findall(r'"?(k\w+)"?\s*[:=]\s*"?(v\w+)"?', row["tags"]))
    found += [f"unknown tag {key} of vm {row['name']}" for key in tags.keys() - promised.tags.keys()]
    for key, values in promised.tags.items():
        if tags.get(key) not in values:
            found.append(f"tag {key} of vm {row['name']} is {tags.get(key)}")
    return found


def wrong_processes(knights: Cluster, rows: list[Row]) -> list[str]:
    """QEMU processes that no VM of a host accounts for, or the reverse."""
    found: list[str] = []
    for name, daemon in zip(knights.names, knights.daemons, strict=True):
        running: list[str] = []
        for pid in daemon.qemus():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                running.append(words[words.index("-uuid") + 1])
        alive = [row["uuid"] for row in rows if row["host"] == name and row["state"] not in ("QUIT", "ERROR")]
        if sorted(running) != sorted(alive):
            found.append(f"{name} runs {sorted(running)}, and shows {sorted(alive)}")
    return found


def wrong_numbers(knights: Cluster, rows: list[Row], ledger: Ledger) -> list[str]:
    """VLAN names that are not the same everywhere, changed their number, or share one."""
    tables = [numbers(conversation(daemon, "vlans") or []) for daemon in knights.daemons]
    found = [f"VLANs differ: {tables}" for table in tables[1:2] if any(table != each for each in tables)]
    if len(set(tables[0].values())) < len(tables[0]):
        found.append(f"a number has two names: {tables[0]}")
    found += [
        f"VLAN {alias} was {number}: {tables[0]}"
        for alias, number in ledger.aliases.items()
        if tables[0].get(alias) != number
    ]
    used = {pair for row in rows for pair in re.findall(r"(\w+) \((\d+)\)", row["vlan"])}
    found += [f"a VM is on {alias} ({number}): {tables[0]}" for alias, number in used - set(tables[0].items())]
    return found


def launch_queues(knights: Cluster, ledger: Ledger) -> None:
    """Launch what was queued again because its host was lost: all of it runs then."""
    for daemon in knights.daemons:
        queued = {row["name"] for row in daemon.rows(f"namespace {NAMESPACE} ns queue list")}
        if queued:
            reply = conversation(daemon, "vm launch")
            assert reply is not None and not errors_of(reply), reply
        for name in queued:
            ledger.vms[name].launched = "yes"
    assert [name for name, vm in ledger.vms.items() if vm.launched == "queued"] == [], "queued VMs are in no queue"


def leave_nothing(knights: Cluster) -> None:
    """Remove all VMs from one host, then end all daemons: no process is left."""
    reply = conversation(knights.daemons[0], "vm kill all")
    assert reply is not None and not errors_of(reply), reply
    knights.each(lambda daemon: daemon.quit())
    eventually(lambda: [f"{host.name} runs {host.pids()}" for host in knights.hosts if host.pids()])


def keep_logs(knights: Cluster, seed: int) -> None:
    """Print the ends of the daemons' logs; all of them go where MEGATOOLS_CHAOS_LOGS says."""
    for name, daemon in zip(knights.names, knights.daemons, strict=True):
        print(f"==== {name}\n" + "\n".join(daemon.log_text().splitlines()[-60:]))
        if place := os.environ.get("MEGATOOLS_CHAOS_LOGS"):
            (Path(place) / f"{seed}-{name}.log").write_text(daemon.log_text())
