"""Who was enrolled in this node's cluster, as far as this node knows, and who of them counts no more.

The authority's node writes what it issues into the shared records (kind `enrolled`), so that every node can list and
revoke. `enrolling` acts on it; it works without a daemon too, then with what is on disk here alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from megatools.hostkit.errors import InvalidInput, MegaError, NotFound, chain_text
from megatools.hostkit.ranges import by_number
from megatools.minimega.mesh.credentials import RENEW_BEFORE, Credentials, CredentialStore, Revocation
from megatools.minimega.mesh.issuing import Issued, issued_of, open_authority
from megatools.minimega.state.shared import Shared

KIND = "enrolled"
"""Shared records of certificates (`issuing.Issued`), by serial number."""

AUTHORITY_KIND = "authority"
"""Shared records of the nodes that have the authority, by name."""


class AuthorityAt(msgspec.Struct, frozen=True):
    """A node has the authority of this cluster."""

    cluster: str


class NodeRow(msgspec.Struct, frozen=True):
    """A line of `cluster list`; `namespace` is the one it is limited to, `expires` the day (UTC)."""

    name: str
    role: str
    namespace: str
    expires: str
    revoked: bool
    connected: bool


class StatusRow(msgspec.Struct, frozen=True):
    """The line of `cluster`: `cluster` is the cluster's name and id, `authority` the hosts that can enrol others."""

    security: str
    cluster: str
    node: str
    role: str
    namespace: str
    expires: str
    authority: str
    remarks: str


class Roll:
    """The certificates this node knows of; `shared` is None without a daemon."""

    def __init__(self, store: CredentialStore, shared: Shared | None) -> None:
        self._store = store
        self._shared = shared

    def certificates(self) -> Sequence[Issued]:
        """All that have not expired, revoked ones among them, oldest first. Raises Corrupt, PermissionDenied."""
        own = self._own()
        known = {} if own is None else {own.serial: own}
        known |= {} if self._shared is None else self._shared.all(KIND, Issued)
        authority = open_authority(self._store)
        for entry in authority.issued() if authority is not None else ():
            known[entry.serial] = entry
        now_s = self._store.clock.now().timestamp()
        return sorted((e for e in known.values() if e.until_s > now_s), key=lambda e: (e.at_s, e.serial))

    def to_revoke(self, name: str) -> list[Revocation]:
        """What takes all certificates of a node away. Raises NotFound, InvalidInput for this node itself."""
        if name == self._store.host:
            raise InvalidInput(
                f'"{name}" is this host itself', hint="revoke it from another one; to be in no cluster: cluster leave"
            )
        found = [e for e in self.certificates() if e.name == name and e.serial not in self._store.revoked]
        if not found:
            gone = any(entry.name == name for entry in self._store.revoked.values())
            raise NotFound(
                f'node "{name}" is revoked already' if gone else f'no node "{name}" is enrolled', hint="cluster list"
            )
        now = self._store.clock.now()
        return [entry.revocation(now) for entry in found]

    def rows(self, connected: Collection[str]) -> list[NodeRow]:
        """One line per name: its certificate that counts, or the last one that did."""
        latest: dict[str, Issued] = {}
        for entry in self.certificates():
            known = latest.get(entry.name)
            if known is None or known.serial in self._store.revoked or entry.serial not in self._store.revoked:
                latest[entry.name] = entry
        rows = [
            NodeRow(
                entry.name,
                entry.role.value,
                entry.namespace,
                _day(entry.until_s),
                entry.serial in self._store.revoked,
                entry.name in connected and entry.serial not in self._store.revoked,
            )
            for entry in latest.values()
        ]
        return sorted(rows, key=lambda row: by_number(row.name))

    def status(self, security: str, remarks: Iterable[str] = ()) -> StatusRow:
        """How this node stands to its cluster; what is wrong is a remark."""
        said = [*remarks]
        own: Credentials | None = None
        try:
            own = self._store.load()
        except MegaError as error:
            if not any(chain_text(error) in remark for remark in said):  # the mesh says it too, once it noticed
                said.append(chain_text(error))
        if own is None:
            security = "open" if security == "open" else "off"  # the mesh may not have noticed yet
            return StatusRow(security, "", self._store.host, "", "", "", "", "; ".join(dict.fromkeys(said)))
        identity, ends = own.identity, own.certificate.validity.end
        if ends - self._store.clock.now() < RENEW_BEFORE:
            said.append("the certificate ends soon: revoke and enrol this node again")
        return StatusRow(
            security,
            f"{own.authority.names.common} {own.cluster}",
            identity.name,
            identity.role.value,
            identity.namespace,
            f"{ends:%Y-%m-%d}",
            ", ".join(self._authorities(own.cluster)),
            "; ".join(dict.fromkeys(said)),
        )

    async def publish(self) -> None:
        """Tell all nodes what this node's authority issued."""
        authority = open_authority(self._store)
        if authority is None or self._shared is None:
            return
        told: Mapping[str, Issued] = self._shared.all(KIND, Issued)
        for entry in authority.issued():
            if entry.serial not in told:
                await self._shared.put(KIND, entry.serial, entry)
        if self._shared.get(AUTHORITY_KIND, self._store.host, AuthorityAt) is None:
            await self._shared.put(AUTHORITY_KIND, self._store.host, AuthorityAt(authority.cluster))

    def _own(self) -> Issued | None:
        """What is known of this node's own certificate; None without a usable one."""
        with suppress(MegaError):
            own = self._store.load()
            return None if own is None else issued_of(own.certificate)
        return None

    def authorities(self) -> Sequence[str]:
        """The hosts that have the authority of this node's cluster, as far as is known. Raises as the store does."""
        own = self._store.load()
        return () if own is None else self._authorities(own.cluster)

    def _authorities(self, cluster: str) -> list[str]:
        told = {} if self._shared is None else self._shared.all(AUTHORITY_KIND, AuthorityAt)
        found = {name for name, at in told.items() if at.cluster == cluster}
        authority = open_authority(self._store)
        if authority is not None and authority.cluster == cluster:
            found.add(self._store.host)
        return sorted(found, key=by_number)


def _day(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"
