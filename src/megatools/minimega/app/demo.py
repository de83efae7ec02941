"""The demo: the document's "Basics: Starting a VM", for real, on this machine (`scripts/demo`).

It starts a daemon of its own in a directory of its own, types the document's lines, waits for four leases and opens
the shell; with `--once` it proves what it shows instead, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import CommandFailed, Unavailable
from megatools.minimega.app import attach
from megatools.minimega.app.client import Connection, DaemonError
from megatools.minimega.app.demo_proof import Proof
from megatools.minimega.app.flags import parse

TREE = Path(__file__).resolve().parents[4]
NETWORK = ("host_tap 1 10.0.0.1/24", "dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254", "vm_net 1")
VM_COUNT = 4
_START_S = 60.0
_IMAGE_S = 1500.0
_LEASES_S = 300.0
_GLANCE_S = 0.5


class Narrator:
    """Tells what is going on, one numbered line a step, with the seconds since the start."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def say(self, text: str) -> None:
        """One line of progress."""
        print(f"[{time.monotonic() - self._start_s:6.1f} s] {text}", flush=True)


class Demo:
    """One run of the demo in a base directory of its own."""

    def __init__(
        self,
        base: Path,
        narrator: Narrator,
        *,
        prefix: Callable[[Sequence[str]], Sequence[str]] = list,
        flags: Sequence[str] = (),
    ) -> None:
        """`prefix` makes of a command line one that runs where the daemon is to live; `flags` are more of its flags."""
        self.base = base
        self._prefix = prefix
        self._flags = flags
        self._say = narrator.say
        self._daemon: proc.Child | None = None
        self._log = base / "daemon.log"

    def start_daemon(self) -> None:
        """Start minimega and wait until its socket answers."""
        self._say(f"starting minimega in {self.base}")
        with self._log.open("wb") as log:
            argv = [
                sys.executable,
                "-m",
                "megatools.minimega.app.main",
                "-nostdin",
                "-base",
                str(self.base),
                *self._flags,
            ]
            self._daemon = proc.spawn(self._prefix(argv), stderr=log.fileno(), stdout=log.fileno())
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._daemon.poll() is not None:
                raise CommandFailed(f"minimega did not start: {self._log.read_text().strip()[-2000:]}")
            with contextlib.suppress(DaemonError):
                self.ask("version")
                return
            time.sleep(_GLANCE_S / 10)
        raise Unavailable(f"minimega did not answer within {_START_S:g} s", hint=f"see {self._log}")

    def ask(self, line: str) -> str:
        """Type one line; returns what it answers. Raises CommandFailed with the first error."""
        texts: list[str] = []
        with Connection(str(self.base / "minimega")) as connection:
            for reply in connection.command(line):
                for _, error in reply.errors:
                    first, _, hint = error.partition("\nhint: ")
                    raise CommandFailed(f"`{line}` failed: {first}", hint=hint)
                texts.append(reply.rendered)
        return "\n".join(text for text in texts if text)

    def type_line(self, line: str) -> str:
        """Type a line of the document, showing it."""
        self._say(f"  minimega$ {line}")
        return self.ask(line)

    def build_image(self) -> tuple[Path, Path]:
        """The demo's kernel and initrd, from vmbetter; the second time they come from its cache."""
        self._say("building the guest image with vmbetter (the first time this downloads packages)")
        config = TREE / "misc" / "vmbetter_configs" / "tiny.conf"
        output = self.base / "image"
        output.mkdir(exist_ok=True)
        argv = [sys.executable, "-m", "megatools.vmbetter.cli", str(config)]
        asyncio.run(run_shown(argv, output))
        return output / "tiny.kernel", output / "tiny.initrd"

    def launch(self, kernel: Path, initrd: Path) -> str:
        """The document's lines from the VM configuration to the pages; returns the pages' URL."""
        for line in (
            f"vm_initrd {initrd}",
            f"vm_kernel {kernel}",
            "vm_memory 1500",
            "vm_launch 2",
            "vm_memory 512",
            "vm_launch 2",
            "vm_start",
        ):
            self.type_line(line)
        return self.type_line("vnc serve 127.0.0.1:0" if _taken(8080) else "vnc serve").split()[-1]

    def wait_for_leases(self) -> list[dict[str, str]]:
        """Wait until every VM has an address; returns the rows of `vm info` by column."""
        self._say("waiting for four leases")
        deadline = time.monotonic() + _LEASES_S
        shown = -1
        while True:
            rows = self.vms()
            have = sum(bool(row["ip"].strip("[]")) for row in rows)
            if have != shown:
                self._say(f"  {have} of {VM_COUNT} have an address")
                shown = have
            if have == VM_COUNT:
                return rows
            if time.monotonic() > deadline:
                raise Unavailable(f"only {have} of {VM_COUNT} VMs have a lease after {_LEASES_S:g} s")
            time.sleep(_GLANCE_S)

    def vms(self) -> list[dict[str, str]]:
        """The VMs, a dictionary of columns each."""
        response = json.loads(self.ask(".json true vm info"))[0]
        return [dict(zip(response["Header"], row, strict=True)) for row in response["Tabular"] or ()]

    def close(self) -> None:
        """Tear everything down: by `quit`, else by signal."""
        if self._daemon is None or self._daemon.poll() is not None:
            return
        self._say("tearing down")
        try:
            self.ask("quit")
        except DaemonError:
            self._daemon.signal(signal.SIGINT)  # it is ending already, or does not answer: SIGINT tears down as well
        except CommandFailed as error:
            print(f"minimega: {error}", file=sys.stderr)
        if asyncio.run(self._daemon.wait(timeout_s=_START_S)) is None:
            self._daemon.signal(signal.SIGKILL)
            raise Unavailable(f"minimega did not end within {_START_S:g} s", hint=f"see {self._log}")


async def run_shown(argv: Sequence[str], cwd: Path) -> str:
    """Run a program whose progress goes to our stderr; returns its standard output."""
    read_end, write_end = os.pipe()
    try:
        child = proc.spawn(argv, stdout=write_end, stderr=sys.stderr.fileno(), new_session=False, cwd=cwd)
    finally:
        os.close(write_end)
    loop = asyncio.get_running_loop()
    with os.fdopen(read_end, "rb") as stream:
        output = await loop.run_in_executor(None, stream.read)
    status = await child.wait(timeout_s=_IMAGE_S)
    if status != 0:
        raise CommandFailed(f'"vmbetter" failed (status {status})')
    return output.decode()


def _taken(port: int) -> bool:
    """Whether somebody on this machine listens on a port already."""
    lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
    return any(f":{port:04X} " in line.split("  ")[0] + " " and " 0A " in line for line in lines)


@contextlib.contextmanager
def own_directory() -> Generator[Path]:
    """A base directory of the demo's own, removed at the end."""
    base = Path(tempfile.mkdtemp(prefix="minimega-demo-", dir="/tmp"))
    try:
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


def run(*, once: bool) -> None:
    """Run the demo; raises a MegaError when something of it does not hold."""
    narrator = Narrator()
    with own_directory() as base:
        demo = Demo(base, narrator)
        try:
            demo.start_daemon()
            for line in NETWORK:
                demo.type_line(line)
            url = demo.launch(*demo.build_image())
            rows = demo.wait_for_leases()
            print(demo.ask(".columns id,name,state,memory,vlan,ip,mac vm info"))
            print(f"consoles: {url}")
            if once:
                asyncio.run(Proof(rows, url, base, narrator.say).hold())
                return
            print(f'this is the shell of minimega; "help" lists the commands, "quit" ends the demo (base: {base})')
            attach.run(parse(["-base", str(base), "-attach"]))
        finally:
            demo.close()
    narrator.say("done")
