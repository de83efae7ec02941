"""Three hosts, one with a clock an hour ahead, one an hour behind: what was acknowledged anywhere holds everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cluster import Cluster, cluster, mesh_size
from tests.support.daemon import Daemon, Row
from tests.support.requires import requires

pytestmark = [
    pytest.mark.root,
    requires("faketime", "ip", "unshare", "ovs-vswitchd", "ovsdb-server", "qemu-system-x86_64"),
]

AHEAD, RIGHT, BEHIND = range(3)
CLOCKS = {AHEAD: "+3600s", BEHIND: "-3600s"}


@pytest.fixture(scope="module")
def knights() -> Iterator[Cluster]:
    """Three daemons of an open mesh and a namespace over them; kn1 is ahead, kn3 behind."""
    with cluster(3, flags=["-mesh-open", "-msa", "2", "-level", "info"]) as found:
        for index, offset in CLOCKS.items():
            daemon = found.daemons[index]
            daemon.prefix = (*daemon.prefix, "faketime", "-m", "--exclude-monotonic", "-f", offset)
        found.start()
        found.wait_for_members()
        first = found.daemons[RIGHT]
        for line in ("ns add-hosts localhost", "vm config memory 32", "vm config vga none"):
            first.ask(f"namespace lab {line}")
        yield found


def wait(condition: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)


def launched(knights: Cluster, index: int, *names: str) -> None:
    """Launch and start VMs on one of the hosts."""
    driver = knights.daemons[RIGHT]
    driver.ask(f"namespace lab vm config schedule {knights.names[index]}")
    driver.ask(f"namespace lab vm launch kvm {','.join(names)}")
    driver.ask(f"namespace lab vm start {','.join(names)}")


def seen(daemon: Daemon, name: str) -> Row:
    """A VM as a host shows it; empty when it does not."""
    rows = daemon.rows("namespace lab .columns name,state,tags vm info")
    return next((row for row in rows if row["name"] == name), {})


def all_see(knights: Cluster, name: str, state: str, tag: str) -> None:
    """Wait until every host shows a VM in a state and with a tag."""

    def agreed() -> bool:
        rows = knights.each(lambda daemon: seen(daemon, name))
        return all(row.get("state") == state and tag in row["tags"] for row in rows)

    wait(agreed, lambda: "\n".join(str(seen(daemon, name)) for daemon in knights.daemons))


def cut(knights: Cluster, index: int) -> None:
    """Take a host away, and wait until it is missed."""
    knights.cut(index)
    wait(lambda: sorted(knights.each(mesh_size)) == [1, 2, 2], lambda: "nobody noticed")


def mend(knights: Cluster, index: int) -> None:
    """Give a host back."""
    knights.mend(index)
    knights.wait_for_members()


def test_the_clocks_are_hours_apart(knights: Cluster) -> None:
    """Else the others would prove nothing."""
    wait(
        lambda: 'the clock of "kn1" differs from this node\'s by 7' in knights.daemons[BEHIND].log_text(),
        knights.daemons[BEHIND].log_text,
    )


@pytest.mark.parametrize(("away", "asker"), [(AHEAD, BEHIND), pytest.param(BEHIND, AHEAD, marks=pytest.mark.full)])
def test_kills_and_tags_asked_by_any_clock_hold(knights: Cluster, away: int, asker: int) -> None:
    host, driver = knights.daemons[away], knights.daemons[asker]
    victim, tagged = f"victim{away}", f"tagged{away}"
    launched(knights, away, victim, tagged)
    host.ask(f"namespace lab vm tag {tagged} color first")
    cut(knights, away)
    try:
        answer = f"{knights.names[away]} is away; done when it returns"
        assert answer in driver.ask(f"namespace lab vm kill {victim}")
        assert answer in driver.ask(f"namespace lab vm tag {tagged} color second")
    finally:
        mend(knights, away)
    all_see(knights, victim, "QUIT", "{}")
    all_see(knights, tagged, "RUNNING", '"color":"second"')


@pytest.mark.full
@pytest.mark.parametrize(("away", "asker"), [(AHEAD, BEHIND), (BEHIND, AHEAD)])
def test_of_what_both_sides_wrote_the_later_holds(knights: Cluster, away: int, asker: int) -> None:
    host, driver = knights.daemons[away], knights.daemons[asker]
    name = f"both{away}"
    launched(knights, away, name)
    cut(knights, away)
    try:
        driver.ask(f"namespace lab vm tag {name} color first")
        driver.ask(f"namespace lab vm tag {name} shape round")
        host.ask(f"namespace lab vm tag {name} color second")
    finally:
        mend(knights, away)
    all_see(knights, name, "RUNNING", '"color":"second"')
    all_see(knights, name, "RUNNING", '"shape":"round"')
    host.ask(f"namespace lab vm tag {name} shape square")
    all_see(knights, name, "RUNNING", '"shape":"square"')


@pytest.mark.full
def test_names_of_vlans_agree(knights: Cluster) -> None:
    def aliases(daemon: Daemon) -> dict[str, str]:
        return {row["alias"]: row["vlan"] for row in daemon.rows("namespace lab vlans")}

    names = [f"net{number}" for number in range(3)]
    with ThreadPoolExecutor(9) as pool:
        daemons = [daemon for _ in names for daemon in knights.daemons]
        words = [name for name in names for _ in knights.daemons]
        list(pool.map(lambda daemon, name: daemon.ask(f"namespace lab tap create {name}"), daemons, words))
    cut(knights, AHEAD)
    try:
        knights.daemons[BEHIND].ask("namespace lab tap create late")
    finally:
        mend(knights, AHEAD)
    knights.daemons[AHEAD].ask("namespace lab tap create later")
    wanted = {*names, "late", "later"}
    found: list[dict[str, str]] = []

    def agreed() -> bool:
        found[:] = knights.each(aliases)
        return all(each == found[0] and set(each) == wanted for each in found)

    wait(agreed, lambda: str(found))
    assert len(set(found[0].values())) == len(wanted)
    tags = knights.each(
        lambda daemon: {row["vlan"] for row in daemon.rows("namespace lab tap") if "net" in row["vlan"]}
    )
    assert tags[0] == tags[1] == tags[2] != set()
