"""The ways from one host to others, only imagined: what bridging asks of them is noted, and may be told to fail."""

from __future__ import annotations

from megatools.hostkit.errors import CommandFailed
from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.net.joining import BridgeEnd
from megatools.minimega.net.meshes import Want


class FakeWays:
    """Host number N is reached at 10.0.0.N; attributes may be changed by tests."""

    def __init__(self, host: str) -> None:
        self.at = "10.0.0." + "".join(filter(str.isdigit, host))
        self.kinds: tuple[TunnelKind, ...] = tuple(TunnelKind)
        self.trunks: tuple[str, ...] = ()
        self.singles: tuple[str, ...] = ()
        self.broken = False
        self.joined: dict[tuple[str, str], Want] = {}

    def address(self) -> str:
        """Where it is reached now."""
        return self.at

    async def end(self, bridge: str) -> BridgeEnd:
        """How any bridge is here."""
        del bridge
        return BridgeEnd(self.at, self.kinds, self.trunks, self.singles)

    def wants(self, namespace: str) -> list[Want]:
        """What a namespace has been joined to."""
        return [want for (name, _), want in self.joined.items() if name == namespace]

    def namespaces(self) -> set[str]:
        """The namespaces that are joined."""
        return {name for name, _ in self.joined}

    async def join(self, want: Want) -> None:
        """Note it, or fail."""
        if self.broken:
            raise CommandFailed("this switch is broken")
        self.joined[want.namespace, want.bridge] = want

    async def leave(self, namespace: str, bridge: str) -> None:
        """Note it."""
        self.joined.pop((namespace, bridge), None)

    async def release(self, namespace: str) -> None:
        """The namespace was destroyed here."""
        for key in [key for key in self.joined if key[0] == namespace]:
            del self.joined[key]
