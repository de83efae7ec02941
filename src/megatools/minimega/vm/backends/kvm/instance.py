"""One QEMU process and its monitor. Made by `backend`; spoken to by the VM's task only."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidState, Unavailable
from megatools.hostkit.proc import Child, Identity
from megatools.hostkit.qemu.qmp import Event, Monitor
from megatools.minimega.vm.backend import AgentChanged, Ended, Listener, Resumed, Site, Suspended
from megatools.minimega.vm.backends.kvm.progress import makes_progress, mappings
from megatools.minimega.vm.backends.kvm.spec import AGENT_ID
from megatools.minimega.vm.screens import png_of_ppm

_FLUSH_GRACE_S = 3.0
_END_TIMEOUT_S = 20.0
_DRAIN_TIMEOUT_S = 0.5
_LOG_TAIL_BYTES = 4096


def last_words(log: Path) -> str:
    """The last line QEMU wrote before it ended, without its own name in front; empty when it was silent."""
    try:
        text = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("qemu-system-x86_64: ") if lines else ""


class KvmInstance:
    """A VM that has a QEMU; `watch` must run as a background task until the process is gone."""

    def __init__(self, site: Site, listener: Listener, accelerator: str, progress_timeout_s: float) -> None:
        self._site = site
        self._listener = listener
        self._accelerator = accelerator
        self._progress_timeout_s = progress_timeout_s
        self._monitor: Monitor | None = None
        self._child: Child | None = None
        self._identity: Identity | None = None
        self._shutdown_seen = False
        self._ending = False
        self._released = False
        self._gone = asyncio.Event()

    @property
    def identity(self) -> Identity:
        """The process."""
        assert self._identity is not None
        return self._identity

    def born(self, child: Child) -> None:
        """The process was started by us."""
        self._child = child
        self._identity = child.identity

    def found(self, identity: Identity) -> None:
        """The process was started by an earlier daemon."""
        self._identity = identity

    def attach(self, monitor: Monitor) -> None:
        """The monitor answers."""
        self._monitor = monitor

    def on_event(self, name: str, data: Event) -> None:
        """Take an event of the monitor."""
        match name:
            case "RESUME":
                self._listener(Resumed())
            case "STOP":
                self._listener(Suspended())
            case "SHUTDOWN":
                self._shutdown_seen = True
            case "VSERPORT_CHANGE" if data.get("id") == AGENT_ID:
                self._listener(AgentChanged(data.get("open") is True))
            case _:
                pass

    async def give_up(self, *, timeout_s: float) -> int | None:
        """Kill a process that never got ready; its exit status, None when there was no process."""
        if self._child is None:
            return None
        self._child.signal(signal.SIGKILL)
        return await self._child.wait(timeout_s=timeout_s)

    async def watch(self) -> None:
        """Wait for the end of the process and report it; cancelled, let go of its monitor."""
        status: int | None = None
        try:
            if self._child is not None:
                status = await self._child.wait()
            else:
                await proc.wait_gone(self.identity)
            if self._monitor is not None:
                await self._monitor.drain(timeout_s=_DRAIN_TIMEOUT_S)  # what QEMU said last is still in the socket
        finally:
            if self._monitor is not None:
                await self._monitor.close()
        self._gone.set()
        if not self._released:
            self._listener(self._ended(status))

    def _ended(self, status: int | None) -> Ended:
        if self._ending or self._shutdown_seen or status == 0:
            return Ended(clean=True)
        how = "the process ended"
        if status is not None:
            how = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        words = last_words(self._site.directory / "qemu.log")
        return Ended(clean=False, reason=f"QEMU {how}" + (f": {words}" if words else ""))

    async def running(self) -> bool:
        """Whether its processors turn."""
        return (await self._connected().ask_mapping("query-status")).get("running") is True

    async def agent_connected(self) -> bool:
        """Whether the guest's agent has its port open."""
        chardevs = await self._connected().ask("query-chardev")
        return any(
            item.get("label") == f"chardev-{AGENT_ID}" and item.get("frontend-open") is True
            for item in mappings(chardevs)
        )

    async def resume(self, *, first: bool) -> None:
        """Let it run; the first time under KVM, see that it does. Raises Unavailable when it gets nowhere."""
        monitor = self._connected()
        await monitor.ask("cont")
        if not first or self._accelerator != "kvm":
            return
        timeout_s = self._progress_timeout_s
        if not await makes_progress(monitor, self.identity.pid, timeout_s):
            raise Unavailable(
                f'guest "{self._site.plan.name}" made no progress within {timeout_s:g} s under accelerator "kvm"',
                hint="KVM does not work on this host: restart minimega with -accel tcg",
            )

    async def pause(self) -> None:
        """Hold it."""
        await self._connected().ask("stop")

    async def end(self) -> None:
        """Kill it; one that writes to its disks gets a moment to flush them. Raises Unavailable when it stays."""
        self._ending = True
        if not self._site.plan.config.snapshot and self._site.plan.config.disks:
            proc.send_signal(self.identity, signal.SIGTERM)
            if await self._is_gone(_FLUSH_GRACE_S):
                return
        proc.send_signal(self.identity, signal.SIGKILL)
        if not await self._is_gone(_END_TIMEOUT_S):
            raise Unavailable(f'process {self.identity.pid} of "{self._site.plan.name}" does not end')

    async def _is_gone(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._gone.wait()
        except TimeoutError:
            return False
        return True

    async def screenshot(self, max_px: int) -> bytes:
        """The screen as PNG. Raises InvalidState when it has none."""
        if self._site.plan.config.vga == "none":
            raise InvalidState(f'vm "{self._site.plan.name}" has no screen', hint="vm config vga std before the launch")
        picture = self._site.directory / "screen.ppm"
        await self._connected().ask("screendump", {"filename": str(picture)})
        try:
            content = await asyncio.to_thread(picture.read_bytes)
        finally:
            picture.unlink(missing_ok=True)
        return await asyncio.to_thread(png_of_ppm, content, max_px)

    async def release(self) -> None:
        """Let go of the monitor; QEMU goes on."""
        self._released = True
        if self._monitor is not None:
            await self._monitor.close()

    def _connected(self) -> Monitor:
        if self._monitor is None or self._gone.is_set():
            raise Unavailable(
                f'the monitor of "{self._site.plan.name}" does not answer', hint="kill the VM and start it"
            )
        return self._monitor
