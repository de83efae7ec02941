"""Requests between nodes, signed: who asks is proven by the key of its certificate, whatever way the request came.

The mesh's `Trust` where nodes have certificates. A proof carries the node's certificate (it is small), which is read
and checked against the cluster's authority once and then known by its bytes. That a request is not a repetition, and
meant for this node, the mesh sees to: both are inside what is signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from megatools.hostkit.errors import Corrupt, PermissionDenied
from megatools.minimega.mesh.credentials import Credentials, CredentialStore
from megatools.minimega.mesh.identity import Identity, identity_of

if TYPE_CHECKING:
    from megatools.hostkit.x509 import Certificate
    from megatools.minimega.mesh.mesh import Caller

_CONTEXT = b"megatools request 1\0"  # no signature over anything else with the same key is one over a request
_MOST_KNOWN = 4096


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """What goes with a request: the certificate (DER), and the signature of its key."""

    certificate: bytes
    signature: bytes


_encode = msgspec.msgpack.Encoder().encode
_proof = msgspec.msgpack.Decoder(Proof)


class Believed:
    """Which certificates of others count: issued by our authority, within their dates, not revoked."""

    def __init__(self, credentials: Credentials, store: CredentialStore) -> None:
        self._authority = credentials.authority
        self._cluster = credentials.cluster
        self._store = store
        self._known: dict[bytes, tuple[Certificate, Identity]] = {}

    def identity(self, der: bytes) -> Identity:
        """Whose certificate this is. Raises PermissionDenied when it does not count."""
        return self.check(der)[1]

    def check(self, der: bytes) -> tuple[Certificate, Identity]:
        """A certificate that counts, and whose it is. Raises PermissionDenied."""
        known = self._known.get(der)
        if known is None:
            known = self._read(der)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[der] = known
        certificate, identity = known
        if certificate.serial in self._store.revoked:
            raise PermissionDenied(f'the certificate of node "{identity.name}" was revoked')
        if not certificate.holds_at(self._store.clock.now()):
            raise PermissionDenied(
                f'the certificate of node "{identity.name}" has expired, or is not valid yet',
                hint=f"it is valid from {certificate.validity.start:%Y-%m-%d} to {certificate.validity.end:%Y-%m-%d}",
            )
        return known

    def _read(self, der: bytes) -> tuple[Certificate, Identity]:
        from megatools.hostkit.x509 import Certificate

        try:
            certificate = Certificate.read(der)
            identity = identity_of(certificate)
        except Corrupt as error:
            raise PermissionDenied("the certificate of another node is unreadable") from error
        if not certificate.issued_by(self._authority) or identity.cluster != self._cluster:
            raise PermissionDenied(f'the certificate of node "{identity.name}" is foreign: not of this cluster')
        return certificate, identity


class CertificateTrust:
    """Satisfies the mesh's `Trust` with certificates."""

    def __init__(self, credentials: Credentials, store: CredentialStore) -> None:
        self._key = credentials.key
        self._der = credentials.certificate.der
        self._believed = Believed(credentials, store)

    def sign(self, request: bytes) -> bytes:
        """The proof that goes with a request of ours."""
        return _encode(Proof(self._der, self._key.sign(_CONTEXT + request)))

    def verify(self, request: bytes, proof: bytes, claimed: str) -> Caller:
        """Who made a request, and what it may ask. Raises PermissionDenied."""
        try:
            found = _proof.decode(proof)
        except msgspec.MsgspecError as error:
            raise PermissionDenied("a request from another node is not signed") from error
        certificate, identity = self._believed.check(found.certificate)
        if identity.name != claimed:
            raise PermissionDenied(f'node "{identity.name}" says that it is "{claimed}"')
        if not certificate.verifies(found.signature, _CONTEXT + request):
            raise PermissionDenied(f'a request of node "{identity.name}" is not signed with its key')
        return identity.caller
