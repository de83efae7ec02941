"""Tunnel devices of the kernel: Ethernet frames to other hosts in VXLAN or GRE packets, for switches in userspace.

Anyone may use it. (Open vSwitch's datapath in the kernel makes tunnels itself; the one in userspace takes these devices
as plain ports.) Packets that are too long for the way are fragmented on it, so a full frame always fits: the devices
have the MTU of guests. pyroute2 is imported at the first use. Sources: ip-link(8), RFC 7348, RFC 2784, RFC 2890,
`linux/if_link.h`, `linux/if_tunnel.h`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_address
from typing import Protocol, cast

import msgspec

from megatools.hostkit import taps
from megatools.hostkit.errors import AlreadyExists, CommandFailed, MegaError, PermissionDenied, Unavailable

GUEST_MTU = 1500
VXLAN_PORT = 4789
_ANY_MAC = "00:00:00:00:00:00"
_GRE_KEY = 0x2000
_HEADERS = {4: 20, 6: 40}
_TAGGED_ETHERNET = 18
_ANSWER_S = 10.0


class TunnelKind(StrEnum):
    """How frames are wrapped."""

    VXLAN = "vxlan"
    GRE = "gre"

    @property
    def key_limit(self) -> int:
        """The first number that is no key any more."""
        return 1 << 24 if self is TunnelKind.VXLAN else 1 << 32


class Device(msgspec.Struct, frozen=True):
    """A tunnel device; a VXLAN one may have several remote ends, between which nothing is passed on. Key 0: none."""

    name: str
    kind: TunnelKind
    local: str
    remotes: tuple[str, ...]
    key: int


class _Calls(Protocol):
    """What we use of pyroute2's AsyncIPRoute, which has no types."""

    async def link(self, command: str, **parameters: object) -> object: ...

    async def fdb(self, command: str, **parameters: object) -> object: ...


class _Failure(Exception):
    """pyroute2's error, which is no OSError; stands for it here."""

    code: int


def room_within(mtu: int, kind: TunnelKind, version: int, key: int) -> int:
    """The longest packet of a guest whose frame, with a VLAN tag, needs no fragments where packets of `mtu` pass."""
    own = 16 if kind is TunnelKind.VXLAN else 8 if key else 4
    return mtu - _HEADERS[version] - own - _TAGGED_ETHERNET


def parameters(device: Device) -> Mapping[str, object]:
    """What pyroute2 is told to make a device."""
    version = ip_address(device.local).version
    common: dict[str, object] = {"ifname": device.name, "mtu": GUEST_MTU}
    if device.kind is TunnelKind.VXLAN:
        local = "vxlan_local" if version == 4 else "vxlan_local6"
        return {**common, "kind": "vxlan", "vxlan_id": device.key, local: device.local, "vxlan_port": VXLAN_PORT}
    (remote,) = device.remotes
    prefix = "gre" if version == 4 else "ip6gre"
    made = {**common, "kind": f"{prefix}tap", f"{prefix}_local": device.local, f"{prefix}_remote": remote}
    if version == 4:
        made |= {"gre_pmtudisc": 0, "gre_ignore_df": 1}
    if device.key:
        flag = _GRE_KEY if version == 4 else socket.htons(_GRE_KEY)  # pyroute2 swaps the bytes of the first kind only
        made |= {f"{prefix}_ikey": device.key, f"{prefix}_okey": device.key}
        made |= {f"{prefix}_iflags": flag, f"{prefix}_oflags": flag}
    return made


async def create(device: Device) -> None:
    """Make a device and set it up; nothing is left when it fails.

    Raises AlreadyExists (name, or kind and key), Unavailable (the kernel has no such tunnels), PermissionDenied,
    CommandFailed.
    """
    async with _route() as route:
        await _ask(route, device)
        try:
            taps.disable_ipv6(device.name)
            if device.kind is TunnelKind.VXLAN:
                await route.change(device.name, "append", device.remotes)
            taps.set_flags(device.name, up=True)
        except (MegaError, OSError):
            await route.remove(device.name)
            raise


async def change_remotes(device: Device, wanted: Sequence[str]) -> Device:
    """Give a VXLAN device other remote ends; returns what it is now. Raises CommandFailed, PermissionDenied."""
    async with _route() as route:
        await route.change(device.name, "append", [remote for remote in wanted if remote not in device.remotes])
        await route.change(device.name, "del", [remote for remote in device.remotes if remote not in wanted])
    return msgspec.structs.replace(device, remotes=tuple(wanted))


async def delete(name: str) -> None:
    """Remove a device; one that is not there is not missed. Raises PermissionDenied, CommandFailed."""
    async with _route() as route:
        await route.remove(name)


async def can_make(kind: TunnelKind) -> bool:
    """Whether the kernel has tunnels of a kind; found out by making one that leads nowhere."""
    key = secrets.randbelow(kind.key_limit - 1) + 1
    device = Device(f"probe{secrets.token_hex(4)}", kind, "127.0.0.1", ("127.0.0.2",), key)
    async with _route() as route:
        try:
            await _ask(route, device)
        except Unavailable:
            return False
        await route.remove(device.name)
    return True


class _Route:
    """A conversation with the kernel; every call raises CommandFailed from an OSError, or PermissionDenied."""

    def __init__(self, calls: _Calls, failure: type[_Failure]) -> None:
        self._calls = calls
        self._failure = failure

    async def add(self, device: Device) -> None:
        """Make a device."""
        await self._done(self._calls.link("add", **parameters(device)), f'cannot make tunnel "{device.name}"')

    async def remove(self, name: str) -> None:
        """Remove a device, if it is there."""
        if taps.exists(name):
            await self._done(self._calls.link("del", ifname=name), f'cannot remove tunnel "{name}"')

    async def change(self, name: str, how: str, remotes: Sequence[str]) -> None:
        """Add or remove remote ends."""
        for remote in remotes:
            index = socket.if_nametoindex(name)
            call = self._calls.fdb(how, ifindex=index, lladdr=_ANY_MAC, dst=remote)
            await self._done(call, f'cannot {how} the remote end {remote} of tunnel "{name}"')

    async def _done(self, call: Awaitable[object], what: str) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                await call
        except TimeoutError as error:
            raise Unavailable(f"{what}: the kernel did not answer within {_ANSWER_S:g} s") from error
        except self._failure as error:
            if error.code in (errno.EPERM, errno.EACCES):
                raise PermissionDenied(what, hint="run as root") from error
            raise CommandFailed(what) from OSError(error.code, os.strerror(error.code))


@contextlib.asynccontextmanager
async def _route() -> AsyncGenerator[_Route]:
    module = await asyncio.to_thread(importlib.import_module, "pyroute2")  # 200 ms, once
    async with module.AsyncIPRoute() as calls:
        yield _Route(cast("_Calls", calls), cast("type[_Failure]", module.NetlinkError))


async def _ask(route: _Route, device: Device) -> None:
    try:
        await route.add(device)
    except CommandFailed as error:
        match error.__cause__:
            case OSError(errno=errno.EOPNOTSUPP):
                hint = "use another kind of tunnel"
                raise Unavailable(f"the kernel of this host has no {device.kind} tunnels", hint=hint) from error
            case OSError(errno=errno.EEXIST):
                what = f"a {device.kind} tunnel with key {device.key}"
                raise AlreadyExists(f"{what} exists on this host", hint="give another key") from error
            case _:
                raise
