"""Who may ask whom: how requests are proven and believed.

`mesh.clique` asks a `Trust`; in an open mesh it is `Claimed` (anyone is who they say they are), with certificates it is
made of this node's key and the cluster's authority.
"""

from __future__ import annotations

from typing import Protocol

from megatools.minimega.mesh.mesh import Caller, Role


class Trust(Protocol):
    """Proves this node's requests, and says who proves to have made another one's."""

    def sign(self, request: bytes) -> bytes:
        """The proof that goes with a request of ours."""
        ...

    def verify(self, request: bytes, proof: bytes, claimed: str) -> Caller:
        """Who made a request: a node of this name, and what it may do. Raises PermissionDenied."""
        ...


class Claimed:
    """The open mesh: everybody on the network is believed and may do everything."""

    def sign(self, request: bytes) -> bytes:
        """No proof."""
        return b""

    def verify(self, request: bytes, proof: bytes, claimed: str) -> Caller:
        """The name claimed."""
        return Caller(claimed, Role.FULL)
