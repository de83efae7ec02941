"""Who may ask whom: how requests are proven and believed.

`mesh.clique` asks a `Trust`; in an open mesh it is `Claimed` (anyone is who they say they are), with certificates it is
made of this node's key and the cluster's authority.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from megatools.minimega.mesh.mesh import Caller, Role


class Trust(Protocol):
    """Proves this node's requests, and says who proves to have made another one's."""

    def sign(self, request: bytes, to: Sequence[str]) -> bytes:
        """The proof that goes with a request of ours to these nodes."""
        ...

    def verify(self, request: bytes, proof: bytes, claimed: str, place: int) -> Caller:
        """Who made a request: a node of this name, and what it may do; `place` is ours among those that are asked.

        Raises PermissionDenied.
        """
        ...


class Claimed:
    """The open mesh: everybody on the network is believed and may do everything."""

    def sign(self, request: bytes, to: Sequence[str]) -> bytes:
        """No proof."""
        return b""

    def verify(self, request: bytes, proof: bytes, claimed: str, place: int) -> Caller:
        """The name claimed."""
        return Caller(claimed, Role.FULL)
