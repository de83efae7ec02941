"""Is everything here that VMs need, new enough, and what will they run on: the answer to `check`."""

from __future__ import annotations

import asyncio
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from megatools.hostkit import proc
from megatools.hostkit.errors import MegaError, Unavailable, chain_text
from megatools.hostkit.ovs import service as ovs
from megatools.hostkit.qemu import probe
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import Handlers, Operation, Reach

_ASK_S = 20.0


class CheckHost(Operation, frozen=True):
    """Check the programs of this host."""

    reach: ClassVar[Reach] = Reach.LOCAL
    reads: ClassVar[bool] = True


@dataclass(frozen=True)
class _Need:
    """A program, how it says its version, and the oldest that will do (spec B.20)."""

    program: str
    words: tuple[str, ...]
    oldest: tuple[int, ...]
    package: str


_NEEDS = (
    _Need("dnsmasq", ("--version",), (2, 73), "dnsmasq-base"),
    _Need("ovs-vswitchd", ("--version",), (1, 11), "openvswitch-switch"),
    _Need("ovsdb-server", ("--version",), (1, 11), "openvswitch-switch"),
    _Need("qemu-img", ("--version",), (1, 6), "qemu-utils"),
)
_OLDEST_QEMU = (1, 6)
_OLDEST_KERNEL = (3, 18)


class HostCheck:
    """Answers `check` on one host; `accelerator` is the daemon's setting."""

    def __init__(self, accelerator: str) -> None:
        self._accelerator = accelerator

    def handlers(self) -> Handlers:
        """What hosts can be asked."""
        return {CheckHost: self._check}

    async def _check(self, _namespace: str, _asked: CheckHost) -> Answer:
        """One line per thing found; everything missing is one error. Raises Unavailable."""
        found: list[str] = []
        missing: list[str] = []
        checks = [self._qemu(), _kernel(), _switch(), *(_version(need) for need in _NEEDS)]
        for result in await asyncio.gather(*checks, return_exceptions=True):
            if isinstance(result, MegaError):
                missing.append(chain_text(result))
            elif isinstance(result, BaseException):
                raise result
            else:
                found.append(result)
        if missing:
            raise Unavailable("\n".join(missing), hint="run scripts/install")
        return Answer("\n".join(found))

    async def _qemu(self) -> str:
        facts = await probe.facts()
        _at_least("qemu", facts.version, _OLDEST_QEMU)
        chosen = probe.accelerator(self._accelerator)
        return f"qemu {facts.version} ({probe.program()}), accelerator {chosen.name}: {chosen.reason}"


async def _version(need: _Need) -> str:
    path = proc.which(need.program)
    if path is None:
        raise Unavailable(f"{need.program} not found", hint=f"it is in package {need.package}")
    text = (await proc.run([str(path), *need.words], timeout_s=_ASK_S)).text
    match = re.search(r"(\d+(?:\.\d+)+)", text)
    version = match[1] if match else "0"
    _at_least(need.program, version, need.oldest)
    return f"{need.program} {version}"


async def _kernel() -> str:
    _at_least("kernel", platform.release().partition("-")[0], _OLDEST_KERNEL)
    return f"kernel {platform.release()}"


async def _switch() -> str:
    if os.geteuid() != 0:
        raise Unavailable("networks need root: bridges and taps will be refused")
    datapath = ovs.datapath_type()
    kind = "kernel datapath" if datapath == "system" else "userspace datapath: no kernel module"
    running = await ovs.is_running()
    return f"open vswitch {'runs' if running else 'is started on first use'} ({kind})"


def _at_least(name: str, version: str, oldest: Sequence[int]) -> None:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < tuple(oldest):
        wanted = ".".join(map(str, oldest))
        raise Unavailable(f"{name} {version} is too old, {wanted} or newer is needed")
