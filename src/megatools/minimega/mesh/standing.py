"""How this node stands to a mesh: in none, in an open one, or in one of a cluster with certificates.

`app` chooses which `Standings` a daemon has; `mesh.clique` asks it before every start of the engine and is told when
the answer changes, so that a daemon joins, leaves, and applies revocations while it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from megatools.hostkit.errors import MegaError, chain_text, hint_of
from megatools.minimega.mesh.beside import NoChannel, SideChannel
from megatools.minimega.mesh.credentials import Credentials, CredentialStore
from megatools.minimega.mesh.engine_config import Certificates
from megatools.minimega.mesh.trust import Claimed, Trust

if TYPE_CHECKING:
    from megatools.minimega.mesh.tls import Secured

HOW = "minimega cluster init, then cluster join HOST on the others; or -mesh-open on a network where all are trusted"
OPEN = "anyone on this network can command this host"


@dataclass(frozen=True)
class Standing:
    """`security` is `off`, `open` or `tls`; `cluster` is part of what keeps meshes apart; `detail` is for the status.

    `denied` are common names of certificates that count no more. Two that are equal need no new engine.
    """

    security: str
    cluster: str = ""
    detail: str = ""
    hint: str = ""
    certificates: Certificates | None = None
    denied: tuple[str, ...] = ()
    trust: Trust = field(default_factory=Claimed, compare=False)
    make_channel: Callable[[], SideChannel] = field(default=NoChannel, compare=False)

    def is_but_for_revocations(self, other: Standing | None) -> bool:
        """Whether it is the other one, but for the certificates that count no more."""
        return other is not None and replace(self, denied=other.denied) == other


class Standings(Protocol):
    """Says how this node stands now."""

    def now(self) -> Standing:
        """Cheap unless something changed."""
        ...

    def listen(self, callback: Callable[[], None]) -> None:
        """Be told that it may have changed."""
        ...


class AlwaysOpen:
    """An open mesh, from start to end."""

    def __init__(self, make_channel: Callable[[], SideChannel] = NoChannel) -> None:
        self._standing = Standing("open", detail=OPEN, make_channel=make_channel)

    def now(self) -> Standing:
        """Open."""
        return self._standing

    def listen(self, callback: Callable[[], None]) -> None:
        """It never changes."""


class Enrolled:
    """A mesh with certificates while this node has some, and none otherwise."""

    def __init__(self, store: CredentialStore, make_channel: Callable[[Secured], SideChannel] | None = None) -> None:
        self._store = store
        self._make_channel = make_channel
        self._known: Standing | None = None
        store.listen(self._forget)

    def now(self) -> Standing:
        """From what is on disk; read again when the store says that it changed."""
        if self._known is None:
            self._known = self._read()
        return self._known

    def listen(self, callback: Callable[[], None]) -> None:
        """Be told when this node joined or left, or somebody was revoked."""
        self._store.listen(callback)

    def _forget(self) -> None:
        self._known = None

    def _read(self) -> Standing:
        from megatools.minimega.mesh.signing import CertificateTrust

        try:
            found = self._store.load()
            if found is None:
                return Standing("off", detail="not in a mesh", hint=HOW)
            denied = sorted(entry.common_name for entry in self._store.revoked.values())
        except MegaError as error:
            return Standing("off", detail=f"not in a mesh: {chain_text(error)}", hint=hint_of(error))
        return Standing(
            "tls",
            cluster=found.cluster,
            certificates=Certificates(found.authority.pem, found.certificate.pem, found.key.pem),
            denied=tuple(denied),
            trust=CertificateTrust(found, self._store),
            make_channel=self._channel(found),
        )

    def _channel(self, found: Credentials) -> Callable[[], SideChannel]:
        make = self._make_channel
        if make is None:
            return NoChannel

        def channel() -> SideChannel:
            from megatools.minimega.mesh.tls import Secured

            return make(Secured(found, self._store))

        return channel
