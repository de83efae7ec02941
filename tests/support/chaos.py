"""Bad days at random, and users who note what they were promised meanwhile; for `tests/e2e/test_cluster_chaos.py`.

A `Client` drives one daemon and keeps a `Ledger`: only an answer that came whole and without an error is a promise.
What ended otherwise may have happened or not. `Trouble` kills, stops and cuts off hosts until it is told to end, and
leaves them healed. Both draw from a seeded generator.
"""

from __future__ import annotations

import json
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.support.cluster import Cluster
from tests.support.daemon import Daemon

NAMESPACE = "lab"
AT_MOST = 5  # VMs that a client keeps
ANSWER_S = 90.0
_QUEUED_AGAIN = "is queued again"

Reply = list[dict[str, object]]


def conversation(daemon: Daemon, line: str) -> Reply | None:
    """All responses to a line of the namespace; None when the daemon went away before the answer was complete."""
    found: Reply = []
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_S)
            client.connect(str(daemon.socket))
            client.sendall(json.dumps({"Command": f"namespace {NAMESPACE} {line}"}).encode() + b"\n")
            with client.makefile("rb") as stream:
                while (text := stream.readline()).endswith(b"\n"):
                    reply = json.loads(text)
                    if reply["Status"]:
                        continue
                    found += reply["Resp"] or ()
                    if not reply["More"]:
                        return found
    except TimeoutError as error:
        raise AssertionError(f"no answer to {line!r} within {ANSWER_S} s") from error
    except OSError:
        return None
    return None


def errors_of(reply: Reply) -> str:
    """All errors of an answer, as text."""
    return "\n".join(f"{each['Host']}: {each['Error']}" for each in reply if each["Error"])


@dataclass
class Promised:
    """What a client was told of one VM: "yes" is a promise, "maybe" an answer that was an error or never came.

    `launched` is "queued" when the host was lost and the VM is to be launched again. `tags` are the values that each
    key may have, None for none.
    """

    launched: str = "maybe"
    killed: str = "no"
    flushed: str = "no"
    tags: dict[str, set[str | None]] = field(default_factory=dict[str, "set[str | None]"])


@dataclass
class Ledger:
    """What all clients were promised, and what they did for it."""

    vms: dict[str, Promised] = field(default_factory=dict[str, Promised])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    log: list[str] = field(default_factory=list[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def note(self, text: str, outcome: str) -> None:
        """Something was answered."""
        self.log.append(f"{time.monotonic():.2f} {text} -> {outcome}")
        words = [word for word in text.split() if word not in ("clear", "vm")]
        key = f"{words[1]} {'kept' if outcome == 'ok' else 'not promised'}"
        self.counts[key] = self.counts.get(key, 0) + 1


class Client:
    """One user at one daemon, with VMs of their own."""

    def __init__(self, name: str, daemon: Daemon, ledger: Ledger, dice: random.Random, vlans: Sequence[str]) -> None:
        self.name = name
        self._daemon = daemon
        self._ledger = ledger
        self._dice = dice
        self._vlans = vlans
        self._made = 0
        self._written = 0

    def work(self, until: threading.Event) -> None:
        """Launch, tag, kill and flush VMs until told to end."""
        while not until.is_set():
            mine = self._own(lambda vm: vm.launched == "yes" and vm.flushed == "no")
            alive = [name for name in mine if self._ledger.vms[name].killed == "no"]
            dead = [name for name in mine if self._ledger.vms[name].killed == "yes"]
            chance = self._dice.random()
            if len(alive) < AT_MOST and (chance < 0.4 or not alive):
                self._launch()
            elif dead and chance < 0.6:
                self._flush(self._dice.choice(dead))
            elif alive and (chance < 0.7 or (len(alive) >= AT_MOST and chance < 0.8)):
                self._kill(self._dice.choice(alive))
            elif alive:
                self._tag(self._dice.choice(alive))
            until.wait(0.02)

    def _own(self, wanted: Callable[[Promised], bool]) -> list[str]:
        return [name for name, vm in self._ledger.vms.items() if name.startswith(self.name) and wanted(vm)]

    def _ask(self, line: str) -> Reply | None:
        """An answer without an error; None for anything else."""
        reply = conversation(self._daemon, line)
        error = "the daemon went away" if reply is None else errors_of(reply)
        self._ledger.note(f"{self.name} {line}", error or "ok")
        if reply is None:
            time.sleep(0.1)  # no condition to wait for: that the daemon comes back is chance
        return None if error else reply

    def _launch(self) -> None:
        vlan = self._dice.choice([*self._vlans, ""]) if self._vlans else ""
        if self._ask(f"vm config networks {vlan}" if vlan else "clear vm config networks") is None:
            return
        count = self._dice.randint(1, 3)
        names = [f"{self.name}{self._made + number}" for number in range(1, count + 1)]
        self._made += count
        self._ledger.vms |= {name: Promised() for name in names}
        line = f"vm launch kvm {','.join(names)}"
        reply = conversation(self._daemon, line)
        errors = None if reply is None else errors_of(reply)
        self._ledger.note(f"{self.name} {line}", {None: "the daemon went away", "": "ok"}.get(errors, str(errors)))
        if errors is None:
            return
        for name in names:
            own = errors if len(names) == 1 else "\n".join(re.findall(rf"(?m)\b{name}: .*", errors))
            whole = not errors or "VMs were launched" in errors  # an end for each VM
            if _QUEUED_AGAIN in own:
                self._ledger.vms[name].launched = "queued"
            elif whole and not own:
                self._ledger.vms[name].launched = "yes"
        if vlan and not errors:
            self._see_vlans()

    def _see_vlans(self) -> None:
        """Whatever name is shown with a number has it from now on."""
        reply = self._ask("vlans")
        for alias, number in numbers(reply or []).items():
            before = self._ledger.aliases.setdefault(alias, number)
            assert before == number, f"VLAN {alias!r} was {before} and is {number} at {self.name}"

    def _kill(self, name: str) -> None:
        self._ledger.vms[name].killed = "maybe"
        if self._ask(f"vm kill {name}") is not None:
            self._ledger.vms[name].killed = "yes"

    def _flush(self, name: str) -> None:
        self._ledger.vms[name].flushed = "maybe"
        if self._ask(f"vm flush {name}") is not None:
            self._ledger.vms[name].flushed = "yes"

    def _tag(self, name: str) -> None:
        """Write a tag, or remove it; one whose last writing is uncertain is left alone, for it may come late."""
        tags = self._ledger.vms[name].tags
        key = f"k{self._dice.randint(1, 3)}"
        while len(tags.get(key, {None})) > 1:
            key += "x"
        self._written += 1
        value = f"v{self._written}" if self._dice.random() < 0.8 else None
        tags.setdefault(key, {None}).add(value)
        line = f"vm tag {name} {key} {value}" if value else f"clear vm tag {name} {key}"
        if self._ask(line) is not None:
            tags[key] = {value}


def numbers(reply: Reply) -> dict[str, str]:
    """The VLANs of an answer to `vlans`, by name."""
    found: dict[str, str] = {}
    for each in reply:
        table, header = each["Tabular"] or [], each["Header"] or []
        assert isinstance(table, list) and isinstance(header, list)
        for row in table:
            cells = dict(zip(header, row, strict=True))
            found[cells["alias"]] = cells["vlan"]
    return found


class Trouble:
    """Kills, stops and cuts off hosts, one after another, until told to end; `free` says who is left in peace."""

    def __init__(self, knights: Cluster, dice: random.Random, free: set[int], lock: threading.Lock) -> None:
        self._knights = knights
        self._dice = dice
        self._free = free
        self._lock = lock
        self.log: list[str] = []

    def work(self, until: threading.Event) -> None:
        """Make trouble."""
        while not until.is_set():
            with self._lock:
                index = self._dice.choice(sorted(self._free))
                self._free.discard(index)
            try:
                self._act(index, until)
            finally:
                with self._lock:
                    self._free.add(index)
            until.wait(self._dice.uniform(0.0, 1.0))

    def _act(self, index: int, until: threading.Event) -> None:
        what, length_s = self._dice.choice(("kill -9", "stop", "cut")), self._dice.uniform(0.2, 6.0)
        self.log.append(f"{time.monotonic():.2f} {what} {self._knights.names[index]} for {length_s:.1f} s")
        begin, end = {
            "kill -9": (self._knights.kill9, self._knights.start),
            "stop": (self._knights.stop, self._knights.cont),
            "cut": (self._knights.cut, self._knights.mend),
        }[what]
        begin(index)
        try:
            until.wait(length_s / 3 if what == "kill -9" else length_s)
        finally:
            end(index)
        self.log.append(f"{time.monotonic():.2f} {what} {self._knights.names[index]} ended")
