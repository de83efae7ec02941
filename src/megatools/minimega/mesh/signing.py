"""Requests between nodes, signed: who asks is proven by the key of its certificate, whatever way the request came.

The mesh's `Trust` where nodes have certificates. A proof carries the node's certificate (it is small), which is read
and checked against the cluster's authority once and then known by its bytes. That a request is not a repetition, and
meant for this node, the mesh sees to: both are inside what is signed. Nodes that know each other read a code instead of
the signature (`mesh.codes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from megatools.hostkit.errors import Corrupt, PermissionDenied
from megatools.minimega.mesh.codes import Codes
from megatools.minimega.mesh.credentials import Credentials, CredentialStore
from megatools.minimega.mesh.identity import Identity, identity_of

if TYPE_CHECKING:
    from megatools.hostkit.x509 import Certificate
    from megatools.minimega.mesh.mesh import Caller

_CONTEXT = b"megatools request 1\0"  # no signature over anything else with the same key is one over a request
_MOST_KNOWN = 4096


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """What goes with a request: the certificate (DER), its key's signature, and codes for those it is meant for."""

    certificate: bytes
    signature: bytes
    codes: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_proof = msgspec.msgpack.Decoder(Proof)


class Believed:
    """Which certificates of others count: issued by our authority, within their dates, not revoked."""

    def __init__(self, credentials: Credentials, store: CredentialStore) -> None:
        self._credentials = credentials
        self._store = store
        self._known: dict[bytes, tuple[Certificate, Identity]] = {}
        self._callers: dict[bytes, Caller] = {}

    def identity(self, der: bytes) -> Identity:
        """Whose certificate this is. Raises PermissionDenied when it does not count."""
        return self.check(der)[1]

    def caller(self, certificate: Certificate, identity: Identity) -> Caller:
        """Who asks, when it is the node of a certificate that counts."""
        known = self._callers.get(certificate.fingerprint)
        if known is None:
            if len(self._callers) >= _MOST_KNOWN:
                self._callers.clear()
            known = msgspec.structs.replace(identity.caller, certificate=certificate.names.common)
            self._callers[certificate.fingerprint] = known
        return known

    def check(self, der: bytes) -> tuple[Certificate, Identity]:
        """A certificate that counts, and whose it is. Raises PermissionDenied."""
        known = self._known.get(der)
        if known is None:
            known = read_member(self._credentials, der)
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


def prove(credentials: Credentials, content: bytes) -> bytes:
    """A proof that a node signed something, for any node of its cluster; the content says what kind of thing it is."""
    return _encode(Proof(credentials.certificate.der, credentials.key.sign(content)))


def proven(credentials: Credentials, content: bytes, proof: bytes) -> Identity:
    """Which node of our cluster signed something, at whatever time. Raises PermissionDenied."""
    found = _read_proof(proof)
    certificate, identity = read_member(credentials, found.certificate)
    if not certificate.verifies(found.signature, content):
        raise PermissionDenied(f'the signature of node "{identity.name}" is wrong')
    return identity


def read_member(credentials: Credentials, der: bytes) -> tuple[Certificate, Identity]:
    """The certificate of a node of our cluster, at whatever time. Raises PermissionDenied."""
    from megatools.hostkit.x509 import Certificate

    try:
        certificate = Certificate.read(der)
        identity = identity_of(certificate)
    except Corrupt as error:
        raise PermissionDenied("the certificate of another node is unreadable") from error
    if not certificate.issued_by(credentials.authority) or identity.cluster != credentials.cluster:
        raise PermissionDenied(f'the certificate of node "{identity.name}" is foreign: not of this cluster')
    return certificate, identity


def _read_proof(proof: bytes) -> Proof:
    try:
        return _proof.decode(proof)
    except msgspec.MsgspecError as error:
        raise PermissionDenied("what another node sent is not signed") from error


class CertificateTrust:
    """Satisfies the mesh's `Trust` with certificates."""

    def __init__(self, credentials: Credentials, store: CredentialStore) -> None:
        self._credentials = credentials
        self._believed = Believed(credentials, store)
        self._codes = Codes(credentials.key, credentials.certificate)

    def sign(self, request: bytes, to: Sequence[str]) -> bytes:
        """The proof that goes with a request of ours to these nodes."""
        own = self._credentials
        signature = own.key.sign(_CONTEXT + request)
        return _encode(Proof(own.certificate.der, signature, self._codes.make(request, to)))

    def verify(self, request: bytes, proof: bytes, claimed: str, place: int) -> Caller:
        """Who made a request that is meant for us in this place, and what it may ask. Raises PermissionDenied."""
        found = _read_proof(proof)
        certificate, identity = self._believed.check(found.certificate)
        if identity.name != claimed:
            raise PermissionDenied(f'node "{identity.name}" says that it is "{claimed}"')
        if not self._codes.fits(found.codes, place, request, certificate):
            if not certificate.verifies(found.signature, _CONTEXT + request):
                raise PermissionDenied(f'a request of node "{identity.name}" is not signed with its key')
        self._codes.met(identity.name, certificate)
        return self._believed.caller(certificate, identity)
