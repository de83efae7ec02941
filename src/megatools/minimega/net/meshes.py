"""Which tunnels a host needs so that every bridge spans the hosts that namespaces want it to span. Pure.

A namespace that is bridged wants tunnels from each of its hosts to all others (a full mesh). Namespaces may share a
bridge and hosts, and two hosts must never be joined twice on one bridge: of the namespaces that want a pair, the one
whose name comes first gives kind and key. Both ends know the same wants for a pair, so they agree without a word.
For `net.tunnels` and tests.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from megatools.hostkit.tunnels import TunnelKind


class Want(msgspec.Struct, frozen=True):
    """Journal kind `tunnel-mesh`: a namespace wants a bridge to reach these addresses, of its other hosts."""

    namespace: str
    bridge: str
    kind: TunnelKind
    key: int
    remotes: tuple[str, ...]


class Span(msgspec.Struct, frozen=True, order=True):
    """What one tunnel does: it joins a bridge to the same bridge on other hosts."""

    bridge: str
    kind: TunnelKind
    key: int
    remotes: tuple[str, ...]


def spans(wants: Iterable[Want], *, bridge: str, one_for_all: bool) -> list[Span]:
    """The tunnels of a bridge; `one_for_all`: one VXLAN device takes all remote ends of a key, else one tunnel each."""
    chosen: dict[str, Want] = {}
    for want in sorted(wants, key=lambda each: each.namespace):
        for remote in want.remotes if want.bridge == bridge else ():
            chosen.setdefault(remote, want)
    grouped: dict[tuple[TunnelKind, int, str], set[str]] = {}
    for remote, want in chosen.items():
        shared = one_for_all and want.kind is TunnelKind.VXLAN
        grouped.setdefault((want.kind, want.key, "" if shared else remote), set()).add(remote)
    return sorted(Span(bridge, kind, key, tuple(sorted(ends))) for (kind, key, _), ends in grouped.items())
