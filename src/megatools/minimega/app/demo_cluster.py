"""The demo of a cluster: three "hosts" on this machine act as one (`scripts/demo --cluster 3`).

Each host is a network namespace with a daemon of its own (`demo_lab`). The first makes a cluster, the others join with
one-time tokens; a namespace over all of them is joined by tunnels, and its VMs get leases from one DHCP server, answer
pings of each other and show their consoles on the first host's page. With `--once` all that is proved.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from megatools.hostkit.errors import CommandFailed, Unavailable
from megatools.minimega.app import attach
from megatools.minimega.app.demo import Demo, Narrator, own_directory
from megatools.minimega.app.demo_lab import Host, lab
from megatools.minimega.app.demo_proof import Page, prove_console, prove_ping
from megatools.minimega.app.flags import parse

VMS_PER_HOST = 2
MOST_HOSTS = 16
_SPACE = "lab"
_GLANCE_S = 0.2
_JOIN_S = 60.0
_LEASES_S = 300.0
_PING_S = 30.0

Found = TypeVar("Found")


class Knight:
    """One host's daemon, as the demo drives it."""

    def __init__(self, host: Host, base: Path, narrator: Narrator) -> None:
        self.host = host
        self.demo = Demo(base, narrator, prefix=host.argv, flags=["-cluster-dir", str(base / "cluster")])
        self._say = narrator.say

    def type_line(self, line: str) -> str:
        """Type a line at this host's prompt, showing it."""
        self._say(f"  {self.host.name}$ {line}")
        return self.demo.ask(line)


class ClusterDemo:
    """One run."""

    def __init__(self, knights: Sequence[Knight], base: Path, narrator: Narrator) -> None:
        self._knights = knights
        self._first = knights[0]
        self._base = base
        self._say = narrator.say
        self._count = VMS_PER_HOST * len(knights)

    def prepare(self) -> str:
        """From nothing to running VMs; returns the address of the pages."""
        for knight in self._knights:
            knight.demo.start_daemon()
        self._join()
        kernel, initrd = self._image()
        self._space()
        for line in (
            f"vm config kernel {kernel}",
            f"vm config initrd {initrd}",
            "vm config memory 256",
            "vm config networks LAN",
            f"vm launch kvm vm[1-{self._count}]",
            "vm start all",
        ):
            self._first.type_line(line)
        return self._first.type_line(f"vnc serve {self._first.host.address}:8080").split()[-1]

    def wait_for_leases(self) -> list[dict[str, str]]:
        """Wait until every VM has an address; returns the rows of `vm info`, with their host."""
        self._say(f"waiting for {self._count} leases")
        shown = -1

        def leased() -> list[dict[str, str]] | None:
            nonlocal shown
            rows = self.vms()
            have = sum(bool(row["ip"].strip("[]")) for row in rows)
            if have != shown:
                self._say(f"  {have} of {self._count} have an address")
                shown = have
            return rows if have == self._count else None

        return self._until(leased, _LEASES_S, "not all VMs have a lease")

    def vms(self) -> list[dict[str, str]]:
        """The VMs of all hosts, a dictionary of columns each."""
        rows: list[dict[str, str]] = []
        for response in json.loads(self._first.demo.ask(".json true vm info")):
            header = response["Header"] or ()
            rows += [
                dict(zip(header, cells, strict=True), host=response["Host"]) for cells in response["Tabular"] or ()
            ]
        return rows

    def prove(self, rows: Sequence[dict[str, str]], url: str) -> None:
        """Raise CommandFailed or Unavailable for the first thing that is not so."""
        hosts = {row["host"] for row in rows}
        if hosts != {knight.host.name for knight in self._knights}:
            raise CommandFailed(f"the VMs are not on all hosts, but on {', '.join(sorted(hosts))}")
        first = self._first.host.name
        self._say(f"verified: {len(rows)} VMs on {len(hosts)} hosts, each with a lease from {first}")
        for row in rows:
            self._until(partial(self._pings, row["ip"].strip("[]")), _PING_S, f'"{row["name"]}" answers no ping')
        self._say(f"verified: {first} reaches all of them over the tunnels")
        asyncio.run(self._guests_ping(rows))
        Page(url, self._say).prove()
        asyncio.run(self._console(next(row for row in rows if row["host"] != first), url))

    def shell(self) -> None:
        """The first host's shell, until the user has had enough."""
        print('this is the shell of kn1; "help" lists the commands, "quit" ends the demo')
        attach.run(parse(["-base", str(self._first.demo.base), "-attach"]))

    def close(self) -> None:
        """End every daemon with what is its."""
        for knight in self._knights:
            knight.demo.close()

    # inside

    async def _guests_ping(self, rows: Sequence[dict[str, str]]) -> None:
        """A VM on each host pings one on the next."""
        one_each = {row["host"]: row for row in rows}
        ring = [one_each[knight.host.name] for knight in self._knights]
        for row, other in zip(ring, [*ring[1:], ring[0]], strict=True):
            if row is not other:
                await prove_ping(self._agent(row), other["ip"].strip("[]"))
                self._say(
                    f"verified: {row['name']} on {row['host']} pings {other['name']} ({other['ip'].strip('[]')}) "
                    f"on {other['host']}"
                )

    def _agent(self, row: dict[str, str]) -> Path:
        """The socket of a VM's guest agent."""
        knight = next(knight for knight in self._knights if knight.host.name == row["host"])
        return knight.demo.base / row["id"] / "cc"

    async def _console(self, row: dict[str, str], url: str) -> None:
        """Type into a VM of another host on the first host's page."""
        word = await prove_console(url, row["name"], self._agent(row))
        self._say(
            f'verified: "{word}", typed on the page of {self._first.host.name} into {row["name"]} on {row["host"]}, '
            "is on its screen and in the guest"
        )

    def _join(self) -> None:
        self._first.type_line("cluster init")
        for knight in self._knights[1:]:
            token = self._first.type_line(f"cluster invite {knight.host.name}").split()[-1]
            self._say(f"  {knight.host.name}$ cluster join {self._first.host.address} TOKEN")
            knight.demo.ask(f"cluster join {self._first.host.address} {token}")
        size = len(self._knights)
        self._until(lambda: self._size() == size or None, _JOIN_S, f"the mesh does not get {size} nodes")
        self._say(f"{size} hosts see each other, over TLS")

    def _size(self) -> int:
        response = json.loads(self._first.demo.ask(".json true mesh status"))[0]
        return int(dict(zip(response["Header"], response["Tabular"][0], strict=True))["size"])

    def _image(self) -> tuple[Path, Path]:
        """The image, in the first host's file directory: the others fetch it from there."""
        kernel, initrd = self._first.demo.build_image()
        files = self._first.demo.base / "files"
        return kernel.rename(files / kernel.name), initrd.rename(files / initrd.name)

    def _space(self) -> None:
        """A namespace over all hosts, its bridges joined, with one DHCP server."""
        names = ",".join(knight.host.name for knight in self._knights)
        for line in (
            f"namespace {_SPACE}",
            f"ns add-hosts {names}",
            "ns bridge mega_bridge vxlan",
            "tap create LAN ip 10.0.0.1/24",
            "dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254",
        ):
            self._first.type_line(line)

    def _pings(self, address: str) -> bool | None:
        try:
            self._first.host.run("ping", "-c", "1", "-W", "2", address)
        except CommandFailed:
            return None
        return True

    def _until(self, look: Callable[[], Found | None], timeout_s: float, otherwise: str) -> Found:
        deadline = time.monotonic() + timeout_s
        while (found := look()) is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"{otherwise} within {timeout_s:g} s")
            time.sleep(_GLANCE_S)
        return found


def run(count: int, *, once: bool) -> None:
    """Run the demo of a cluster of `count` hosts. Raises a MegaError when something of it does not hold."""
    narrator = Narrator()
    with own_directory() as base, lab(count) as hosts:
        narrator.say(
            f"made {count} hosts on this machine: {', '.join(f'{host.name} ({host.address})' for host in hosts)}"
        )
        knights: list[Knight] = []
        for host in hosts:
            (base / host.name).mkdir(mode=0o711)
            knights.append(Knight(host, base / host.name, narrator))
        base.chmod(0o711)
        demo = ClusterDemo(knights, base, narrator)
        try:
            url = demo.prepare()
            rows = demo.wait_for_leases()
            print(knights[0].demo.ask(".columns host,id,name,state,vlan,ip vm info"))
            print(f"consoles and hosts: {url}")
            if once:
                demo.prove(rows, url)
            else:
                demo.shell()
        finally:
            demo.close()
    narrator.say("done")
