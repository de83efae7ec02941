"""What a node keeps on disk to be a member of its cluster (setting `cluster_dir`).

    node.pem        this node's key and certificate, and the authority's certificate; whole or absent
    revoked.json    the certificates nobody may use any more
    members.json    the names of the members there were when it ran last (`revocation`)
    authority.*     where the cluster's authority is (`issuing`)

Read and written by the daemon, by `minimega cluster ...` without one, and by deployment (which copies a `node.pem` made
elsewhere). What is wrong with it is said, never guessed around: a node with damaged credentials is in no mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from megatools.hostkit.clock import Clock, SystemClock
from megatools.hostkit.errors import Corrupt, InvalidState, NotFound, PermissionDenied, Unavailable
from megatools.hostkit.files import Lock, write_atomically
from megatools.minimega.mesh.identity import Identity, cluster_of, identity_of

if TYPE_CHECKING:
    from megatools.hostkit.x509 import Certificate, Key

DEFAULT_DIRECTORY = Path("/var/lib/megatools/cluster")
NODE_FILE = "node.pem"
REVOKED_FILE = "revoked.json"
MEMBERS_FILE = "members.json"
LOCK_FILE = "lock"
RENEW_BEFORE = timedelta(days=30)
_RENEW_HINT = "where the authority is: cluster revoke {name}, cluster invite {name}; here: cluster leave, cluster join"


class Revocation(msgspec.Struct, frozen=True):
    """A certificate that counts no more; `common_name` is what the mesh engine knows it by, `at_s` since the epoch.

    `proof` is the signature of the node that revoked it, for other nodes (`revocation`).
    """

    serial: str
    name: str
    common_name: str
    at_s: int
    proof: bytes = b""


@dataclass(frozen=True)
class Credentials:
    """This node's proof of who it is, and what others' proofs are checked against."""

    key: Key
    certificate: Certificate
    authority: Certificate

    @property
    def identity(self) -> Identity:
        """Who this node is."""
        return identity_of(self.certificate)

    @property
    def cluster(self) -> str:
        """The cluster's id."""
        return cluster_of(self.authority)

    @property
    def pem(self) -> bytes:
        """The content of `node.pem`."""
        return self.key.pem + self.certificate.pem + self.authority.pem

    @classmethod
    def read(cls, pem: bytes) -> Credentials:
        """From the content of a `node.pem`; says nothing about dates. Raises Corrupt."""
        from megatools.hostkit.x509 import Certificate, Key

        key = Key.read(pem)
        certificates = Certificate.read_all(pem)
        if len(certificates) != 2:
            raise Corrupt(f"there are {len(certificates)} certificates, not the node's and its authority's")
        found = cls(key, certificates[0], certificates[1])
        if not found.certificate.belongs_to(key):
            raise Corrupt("the certificate does not belong to the key")
        if not found.certificate.issued_by(found.authority) or found.identity.cluster != found.cluster:
            raise Corrupt(f'the certificate of "{found.identity.name}" is foreign: another authority issued it')
        return found


class CredentialStore:
    """The directory; tells those who listen when what is in it changes."""

    def __init__(self, directory: Path, host: str, clock: Clock | None = None) -> None:
        self.directory = directory
        self.host = host
        self.clock = clock or SystemClock()
        self._revoked: dict[str, Revocation] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._issuing: list[Callable[[], None]] = []

    def listen(self, callback: Callable[[], None]) -> None:
        """Be told when this node joined, left, or a certificate was revoked."""
        self._listeners.append(callback)

    def listen_issued(self, callback: Callable[[], None]) -> None:
        """Be told when the authority here issued something."""
        self._issuing.append(callback)

    def issued(self) -> None:
        """Tell those who listen that the authority here issued something; called by `issuing`."""
        for callback in self._issuing:
            callback()

    def lock(self) -> Lock:
        """The lock to hold while the directory is changed. Makes the directory."""
        make_directory(self.directory)
        return Lock(self.directory / LOCK_FILE)

    def load(self) -> Credentials | None:
        """This node's credentials, ready for use; None when it is in no cluster.

        Raises PermissionDenied (unreadable, or readable by others), Corrupt (damaged, foreign), InvalidState (expired,
        not valid yet, revoked, or made for a host of another name).
        """
        path = self.directory / NODE_FILE
        content = read_private(path)
        if content is None:
            return None
        try:
            found = Credentials.read(content)
        except Corrupt as error:
            raise Corrupt(
                f'the cluster credentials in "{path}" are damaged', hint="restore the file, or `cluster leave`"
            ) from error
        self.check(found)
        return found

    def check(self, found: Credentials) -> None:
        """Whether credentials can be used on this host now. Raises InvalidState."""
        name, dates = found.identity.name, found.certificate.validity
        hint = _RENEW_HINT.format(name=name)
        if name != self.host:
            raise InvalidState(f'this host is "{self.host}", but its cluster certificate is for "{name}"', hint=hint)
        now = self.clock.now()
        if now < dates.start:
            raise InvalidState(
                f'the cluster certificate of "{name}" is not valid before {dates.start:%Y-%m-%d %H:%M} UTC',
                hint=f"this host's clock says {now:%Y-%m-%d %H:%M} UTC: is it right?",
            )
        if now > min(dates.end, found.authority.validity.end):
            raise InvalidState(f'the cluster certificate of "{name}" expired on {dates.end:%Y-%m-%d}', hint=hint)
        if found.certificate.serial in self.revoked:
            raise InvalidState(f'the cluster certificate of "{name}" was revoked', hint="cluster leave")

    @property
    def is_member(self) -> bool:
        """Whether this node has credentials, usable or not; no when we may not look."""
        try:
            return (self.directory / NODE_FILE).exists()
        except PermissionError:
            return False

    def save(self, credentials: Credentials) -> None:
        """Become a member, whole or not at all."""
        make_directory(self.directory)
        write_atomically(self.directory / NODE_FILE, credentials.pem)
        self._changed()

    def forget(self) -> None:
        """Be no member any more. Raises NotFound."""
        try:
            (self.directory / NODE_FILE).unlink()
        except FileNotFoundError as error:
            raise NotFound("this host is in no cluster") from error
        for name in (REVOKED_FILE, MEMBERS_FILE):
            (self.directory / name).unlink(missing_ok=True)
        self._revoked = None
        self._changed()

    @property
    def revoked(self) -> Mapping[str, Revocation]:
        """The revoked certificates by serial number. Raises Corrupt, PermissionDenied."""
        if self._revoked is None:
            content = read_private(self.directory / REVOKED_FILE)
            try:
                entries = msgspec.json.decode(content or b"[]", type=list[Revocation])
            except msgspec.MsgspecError as error:
                raise Corrupt(f'the list of revoked certificates in "{self.directory}" is damaged') from error
            self._revoked = {entry.serial: entry for entry in entries}
        return self._revoked

    def revoke(self, revocations: Iterable[Revocation]) -> list[Revocation]:
        """Keep revocations; returns those that were news. Nothing is ever taken back.

        Raises Unavailable; then none of them counts.
        """
        known = self.revoked
        news = [entry for entry in revocations if entry.serial not in known]
        if news:
            self._write_revoked([*known.values(), *news])
            self.mark_revoked(news)
        return news

    def mark_revoked(self, revocations: Iterable[Revocation]) -> None:
        """Let revocations count from now on, written or not."""
        self._revoked = {**self.revoked, **{entry.serial: entry for entry in revocations}}
        self._changed()

    def write_revoked(self) -> None:
        """Keep the revocations that count. Raises Unavailable."""
        self._write_revoked(self.revoked.values())

    def _write_revoked(self, entries: Iterable[Revocation]) -> None:
        make_directory(self.directory)
        write_atomically(self.directory / REVOKED_FILE, msgspec.json.encode(list(entries)))

    def _changed(self) -> None:
        for callback in self._listeners:
            callback()


def make_directory(directory: Path) -> None:
    """Make the directory, for its owner only. Raises Unavailable."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f'cannot make "{directory}"', hint="choose another one with -cluster-dir DIR") from error


def read_private(path: Path) -> bytes | None:
    """A file that only its owner may read; None when there is none. Raises PermissionDenied."""
    try:
        if path.stat().st_mode & 0o077:
            raise PermissionDenied(f'others may read "{path}"', hint=f"chmod 600 {path}")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PermissionDenied(f'cannot read "{path}"') from error
