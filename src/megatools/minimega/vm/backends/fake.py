"""VMs and ports that are only imagined: for unit tests of the code above backends, and for nothing else.

They keep the protocols of the real ones and can be told to fail.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from megatools.hostkit.errors import MegaError
from megatools.hostkit.proc import Identity
from megatools.minimega.vm.backend import Capabilities, Ended, Instance, Listener, Resumed, Site, Suspended
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.ports import Addresses, Port


class FakeInstance:
    """A VM without a process."""

    def __init__(self, site: Site, listener: Listener) -> None:
        self.site = site
        self.listener = listener
        self.turning = False
        self.released = False
        self.ended = False

    @property
    def identity(self) -> Identity:
        """This very process, which lives."""
        return Identity(os.getpid(), self.site.id, "fake")

    async def running(self) -> bool:
        """Whether it was resumed last."""
        return self.turning

    async def resume(self, *, first: bool) -> None:
        """Turn, and say so."""
        self.turning = True
        self.listener(Resumed())

    async def pause(self) -> None:
        """Hold, and say so."""
        self.turning = False
        self.listener(Suspended())

    async def end(self) -> None:
        """End, and say so."""
        self.ended = True
        self.listener(Ended(clean=True))

    def die(self, reason: str) -> None:
        """End by itself."""
        self.listener(Ended(clean=False, reason=reason))

    async def screenshot(self, max_px: int) -> bytes:
        """No picture at all."""
        return b"fake %d" % max_px

    async def release(self) -> None:
        """Remember it."""
        self.released = True


class FakeBackend:
    """Makes fake VMs; `failures` maps a step (`prepare`, `launch`) and a VM's name to the error it raises.

    A VM whose name is in `held` is launched once the event there is set.
    """

    def __init__(self) -> None:
        self.failures: dict[tuple[str, str], MegaError] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.instances: dict[str, FakeInstance] = {}
        self.lost: set[str] = set()
        self.launched: list[FakeInstance] = []

    @property
    def kind(self) -> VmKind:
        """It stands in for KVM."""
        return VmKind.KVM

    def capabilities(self) -> Capabilities:
        """All of them."""
        return Capabilities(console=True, screenshot=True, guest_agent=True, saved_states=True)

    def _maybe_fail(self, step: str, site: Site) -> None:
        if (step, site.plan.name) in self.failures:
            raise self.failures[step, site.plan.name]

    async def prepare(self, site: Site) -> None:
        """Nothing, or the error asked for."""
        self._maybe_fail("prepare", site)

    async def launch(self, site: Site, listener: Listener) -> Instance:
        """A VM, or the error asked for."""
        if site.plan.name in self.held:
            await self.held[site.plan.name].wait()
        self._maybe_fail("launch", site)
        self.instances[site.plan.uuid] = FakeInstance(site, listener)
        self.launched.append(self.instances[site.plan.uuid])
        return self.instances[site.plan.uuid]

    async def adopt(self, site: Site, identity: Identity | None, listener: Listener) -> Instance | None:
        """The VM, unless it is among the `lost`."""
        found = self.instances.get(site.plan.uuid)
        if found is None or site.plan.uuid in self.lost:
            return None
        found.listener = listener
        return found

    async def destroy(self, site: Site) -> None:
        """Forget it."""
        self.instances.pop(site.plan.uuid, None)


class FakePorts:
    """A network that only remembers; `refuse` may raise for a batch."""

    def __init__(self) -> None:
        self.attached: dict[str, Port] = {}
        self.batches: list[int] = []
        self.refuse: Callable[[Sequence[Port]], None] = lambda _ports: None
        self._count = 0

    @property
    def offloads(self) -> bool:
        """They do."""
        return True

    async def make(self, ports: Sequence[Port]) -> None:
        """Count the batch."""
        self.batches.append(len(ports))

    async def plug(self, ports: Sequence[Port]) -> None:
        """Remember them, all or none."""
        self.refuse(ports)
        self.attached |= {port.tap: port for port in ports}

    async def detach(self, taps: Sequence[str]) -> None:
        """Forget them."""
        for tap in taps:
            self.attached.pop(tap, None)

    def new_tap_names(self, count: int) -> list[str]:
        """Names counted up."""
        first, self._count = self._count, self._count + count
        return [f"fake{number}" for number in range(first, self._count)]

    def addresses(self, mac: str) -> Addresses:
        """An address for every MAC that ends in 01."""
        return Addresses("10.0.0.1") if mac.endswith("01") else Addresses()
