"""The cluster's authority: the node where `cluster init` ran keeps its key, and can make other nodes members.

    authority.pem       the authority's key and certificate
    authority.json      what it issued, and the invitations that are out; one file, so that one write settles both

`enrolment` uses it for invitations, deployment to make a `node.pem` for a host it sets up. Whoever copies both files to
another node's directory has a second authority of the same cluster there; keep a copy of them in a safe place.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from megatools.hostkit.errors import AlreadyExists, Corrupt, InvalidInput, InvalidState, NotFound, PermissionDenied
from megatools.hostkit.files import write_atomically
from megatools.minimega.mesh.credentials import (
    Credentials,
    CredentialStore,
    Revocation,
    make_directory,
    read_private,
)
from megatools.minimega.mesh.identity import Identity, check_name, cluster_of, common_name, identity_of
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.mesh.token import Token

if TYPE_CHECKING:
    from megatools.hostkit.x509 import Certificate, Key

AUTHORITY_FILE = "authority.pem"
LEDGER_FILE = "authority.json"
AUTHORITY_VALID = timedelta(days=365 * 30)
NODE_VALID = timedelta(days=365 * 5)
BACKDATED = timedelta(days=30)  # hosts whose clocks are behind take a new certificate at once
INVITED_FOR = timedelta(hours=1)
_REPEATED_WITHIN_S = 120
_DEFAULT_CLUSTER = "cluster"


class Issued(msgspec.Struct, frozen=True):
    """A certificate that was issued; times in seconds since the epoch."""

    serial: str
    name: str
    common_name: str
    role: Role
    namespace: str
    at_s: int
    until_s: int

    def revocation(self, now: datetime) -> Revocation:
        """What revokes it."""
        return Revocation(self.serial, self.name, self.common_name, int(now.timestamp()))


def issued_of(certificate: Certificate) -> Issued:
    """What is written down of a node's certificate. Raises Corrupt when it is none."""
    identity = identity_of(certificate)
    return Issued(
        certificate.serial,
        identity.name,
        certificate.names.common,
        identity.role,
        identity.namespace,
        int((certificate.validity.start + BACKDATED).timestamp()),
        int(certificate.validity.end.timestamp()),
    )


class Invitation(msgspec.Struct, frozen=True):
    """A token that is out; for any node when `name` is empty. A used one keeps what it was used for, so that a joining
    node that lost the answer can ask again; `request` is its signing request, `used_s` when it came.
    """

    token: Token
    name: str
    role: Role
    namespace: str
    until_s: int
    request: bytes = b""
    certificate: bytes = b""
    used_s: int = 0

    def awaited(self, now: datetime) -> bool:
        """Whether a node may still come with it, or come back for a lost answer."""
        now_s = now.timestamp()
        return now_s < self.until_s and (not self.used or now_s < self.used_s + _REPEATED_WITHIN_S)

    @property
    def used(self) -> bool:
        """Whether a node joined with it."""
        return bool(self.request)


class Ledger(msgspec.Struct, frozen=True):
    """The content of `authority.json`."""

    issued: tuple[Issued, ...] = ()
    invitations: tuple[Invitation, ...] = ()


@dataclass(frozen=True)
class Joining:
    """What a node that wants to join says of itself: its signing request, and the proof that it has the token."""

    invitation: str
    name: str
    addresses: tuple[str, ...]
    request: bytes
    proof: bytes


class Authority:
    """The authority of a cluster, as long as its files are in the store's directory."""

    def __init__(self, store: CredentialStore, key: Key, certificate: Certificate, ledger: Ledger) -> None:
        self._store = store
        self._key = key
        self.certificate = certificate
        self._ledger = ledger

    @property
    def cluster(self) -> str:
        """The cluster's id."""
        return cluster_of(self.certificate)

    def issued(self) -> list[Issued]:
        """What was issued and has not expired, oldest first."""
        now_s = self._now_s()
        return [entry for entry in self._ledger.issued if entry.until_s > now_s]

    def member(self, name: str) -> Issued | None:
        """The certificate a node of this name may use now."""
        found = [e for e in self.issued() if e.name == name and e.serial not in self._store.revoked]
        return found[-1] if found else None

    def admit(self, identity: Identity, request: bytes, addresses: tuple[str, ...] = ()) -> Certificate:
        """Issue a certificate for a node's signing request, and write that down first.

        Raises AlreadyExists when a node of that name is a member, InvalidInput.
        """
        self._refuse_double(identity.name)
        return self.admit_again(identity, request, addresses)

    def admit_again(self, identity: Identity, request: bytes, addresses: tuple[str, ...] = ()) -> Certificate:
        """Issue a certificate to a node that may be a member already: one that renews its own."""
        certificate, entry = self._issue(identity, request, addresses)
        self._write(issued=(*self._ledger.issued, entry))
        return certificate

    def credentials(self, name: str, role: Role = Role.FULL, namespace: str = "") -> Credentials:
        """A key and a certificate made here for a node to be: its `node.pem` is all it needs. Raises as `admit`."""
        from megatools.hostkit.x509 import Key

        key = Key.make()
        identity = Identity(self.cluster, check_name(name), role, namespace)
        return Credentials(key, self.admit(identity, key.request()), self.certificate)

    def invite(
        self,
        name: str,
        role: Role,
        namespace: str,
        port: int,
        addresses: tuple[str, ...],
        valid: timedelta = INVITED_FOR,
    ) -> Invitation:
        """A token for one node; for whichever asks first when the name is empty. Raises AlreadyExists, InvalidInput."""
        if name:
            self._refuse_double(check_name(name))
        if valid <= timedelta(0):
            raise InvalidInput("an invitation must be valid for more than no time")
        token = Token(self.certificate.fingerprint, secrets.token_bytes(16), port, addresses)
        invitation = Invitation(token, name, role, namespace, self._now_s() + int(valid.total_seconds()))
        self._write(invitations=(*self.invitations(), invitation))
        return invitation

    def invitations(self) -> tuple[Invitation, ...]:
        """The invitations that have not expired, used ones among them."""
        now_s = self._now_s()
        return tuple(one for one in self._ledger.invitations if one.until_s > now_s)

    def redeem(self, joining: Joining, server: bytes) -> Certificate:
        """The certificate for a node that has a token; `server` is the fingerprint of the certificate it talked to.

        The same request under the same token gets the same certificate again. Raises PermissionDenied (unknown or
        expired token, wrong proof, made for another name), InvalidState (used), AlreadyExists, InvalidInput.
        """
        from megatools.hostkit.x509 import Certificate

        found = next((one for one in self.invitations() if one.token.id == joining.invitation), None)
        hint = "make a new one with `cluster invite`"
        if found is None:
            raise PermissionDenied("this token is unknown here, or has expired", hint=hint)
        if not found.token.proven(joining.proof, server, joining.name, joining.request):
            raise PermissionDenied("the token is wrong", hint=hint)
        if found.request == joining.request:
            return Certificate.read(found.certificate)
        if found.used:
            raise InvalidState("this token was used already", hint=hint)
        if found.name and found.name != joining.name:
            raise PermissionDenied(f'this token is for a node called "{found.name}", not "{joining.name}"', hint=hint)
        self._refuse_double(check_name(joining.name))
        identity = Identity(self.cluster, joining.name, found.role, found.namespace)
        certificate, entry = self._issue(identity, joining.request, joining.addresses)
        used = msgspec.structs.replace(
            found, request=joining.request, certificate=certificate.der, used_s=self._now_s()
        )
        self._write(
            issued=(*self._ledger.issued, entry),
            invitations=tuple(used if one is found else one for one in self.invitations()),
        )
        return certificate

    def _issue(self, identity: Identity, request: bytes, addresses: tuple[str, ...]) -> tuple[Certificate, Issued]:
        from megatools.hostkit import x509

        serial = x509.random_serial()
        common = common_name(identity.name, f"{serial:x}")
        names = x509.Names(common, _dns(identity.name), addresses, (identity.uri,))
        now = self._store.clock.now()
        validity = x509.Validity(now - BACKDATED, min(now + NODE_VALID, self.certificate.validity.end))
        certificate = x509.issue(self.certificate, self._key, request, names, validity, serial)
        return certificate, issued_of(certificate)

    def _refuse_double(self, name: str) -> None:
        known = self.member(name)
        if known is not None:
            since = datetime.fromtimestamp(known.at_s, UTC)
            raise AlreadyExists(
                f'a node called "{name}" is in the cluster since {since:%Y-%m-%d %H:%M} UTC',
                hint=f"if it is gone for good, `cluster revoke {name}` makes room for another one",
            )

    def _write(
        self, *, issued: tuple[Issued, ...] | None = None, invitations: tuple[Invitation, ...] | None = None
    ) -> None:
        ledger = Ledger(
            self._ledger.issued if issued is None else issued,
            self._ledger.invitations if invitations is None else invitations,
        )
        write_atomically(self._store.directory / LEDGER_FILE, msgspec.json.encode(ledger))
        self._ledger = ledger
        if issued is not None:
            self._store.issued()

    def _now_s(self) -> int:
        return int(self._store.clock.now().timestamp())


def open_authority(store: CredentialStore) -> Authority | None:
    """The authority whose files are here; None when they are not. Raises Corrupt, PermissionDenied."""
    from megatools.hostkit.x509 import Certificate, Key

    path = store.directory / AUTHORITY_FILE
    content = read_private(path)
    if content is None:
        return None
    try:
        key = Key.read(content)
        certificates = Certificate.read_all(content)
        if len(certificates) != 1 or not certificates[0].belongs_to(key):
            raise Corrupt("the certificate does not belong to the key")
        ledger = msgspec.json.decode(read_private(store.directory / LEDGER_FILE) or b"{}", type=Ledger)
    except (Corrupt, msgspec.MsgspecError) as error:
        raise Corrupt(f'the cluster authority in "{path}" is damaged', hint="restore it from your copy") from error
    return Authority(store, key, certificates[0], ledger)


def required_authority(store: CredentialStore) -> Authority:
    """The authority here. Raises NotFound where it is not, and as `open_authority`."""
    found = open_authority(store)
    if found is None:
        raise NotFound("the cluster's authority is not on this host", hint="run this where `cluster init` was run")
    return found


def found_cluster(store: CredentialStore, name: str, addresses: tuple[str, ...]) -> Authority:
    """Make a cluster with an authority here, and this host its first member; where an authority is already, only that.

    Raises AlreadyExists when this host is in a cluster, InvalidInput.
    """
    from megatools.hostkit.x509 import Key

    check_name(store.host)
    if store.is_member:
        raise AlreadyExists(f'host "{store.host}" is in a cluster already', hint="cluster leave, first")
    authority = open_authority(store) or _make_authority(store, check_name(name or _DEFAULT_CLUSTER))
    key = Key.make()
    identity = Identity(authority.cluster, store.host)
    certificate = authority.admit_again(identity, key.request(), addresses)
    store.save(Credentials(key, certificate, authority.certificate))
    return authority


def _make_authority(store: CredentialStore, name: str) -> Authority:
    from megatools.hostkit import x509

    make_directory(store.directory)
    key = x509.Key.make()
    now = store.clock.now()
    certificate = x509.make_authority(key, name, x509.Validity(now - BACKDATED, now + AUTHORITY_VALID))
    write_atomically(store.directory / LEDGER_FILE, msgspec.json.encode(Ledger()))
    write_atomically(store.directory / AUTHORITY_FILE, key.pem + certificate.pem)
    return Authority(store, key, certificate, Ledger())


def _dns(name: str) -> tuple[str, ...]:
    """The host name as an alternative name, where it may stand there: TLS libraries refuse odd ones."""
    return (name,) if all(part and "_" not in part and part.isascii() for part in name.split(".")) else ()
