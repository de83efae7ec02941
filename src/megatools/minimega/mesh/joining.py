"""A host joins a cluster with a token: the new node's end of `admission`.

Called by the daemon, and by `minimega cluster join` without one. What the host asks with is kept in `joining.json`
until the answer is there: a join that broke off anywhere is repeated with the same token.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from megatools.hostkit.errors import AlreadyExists, Corrupt, PermissionDenied, ProtocolError, Unavailable
from megatools.hostkit.files import write_atomically
from megatools.minimega.mesh.admission import ANSWER_S, Admission, Application, Hello, hear, say
from megatools.minimega.mesh.credentials import Credentials, CredentialStore, read_private
from megatools.minimega.mesh.identity import check_name, cluster_of, identity_of
from megatools.minimega.mesh.tls import unverified_context
from megatools.minimega.mesh.token import Token, read_token

if TYPE_CHECKING:
    from megatools.hostkit.x509 import Certificate

JOINING_FILE = "joining.json"
_ATTEMPTS = 3
_PAUSE_S = 0.5
_AGAIN = "the same command may be given again"
_NOBODY = "make a token there (`cluster invite`) and use it while it is valid; does a firewall let the port through?"


class Pending(msgspec.Struct, frozen=True):
    """What a host asks with, under one token: its key (PEM) and its signing request (DER)."""

    invitation: str
    key: bytes
    request: bytes


async def join(store: CredentialStore, host: str, text: str, addresses: tuple[str, ...] = ()) -> Credentials:
    """Become a member of the cluster of a token, whose authority's node is at `host`; the store then has the proof.

    Raises InvalidInput (no token), AlreadyExists (a member already, or this name is one), Unavailable (nobody there),
    PermissionDenied (another authority than the token's; a token that does not count), InvalidState (used; clocks).
    """
    token = read_token(text)
    check_name(store.host)
    if store.is_member:
        raise AlreadyExists(f'host "{store.host}" is in a cluster already', hint="cluster leave, first")
    with store.lock():
        path = store.directory / JOINING_FILE
        pending = _pending(path, token)
        write_atomically(path, msgspec.json.encode(pending))  # a full disk is found before the token is used
        answer = await _ask_patiently(_Asking(token, host, store.host, addresses, pending))
        refused = answer.admission.refused
        if refused is not None:
            path.unlink()
            raise refused.raised() or ProtocolError("refused without a reason")
        credentials = _checked(answer, pending, store.host)
        store.check(credentials)
        store.revoke(answer.admission.revoked)
        store.save(credentials)
        path.unlink()
    return credentials


@dataclass(frozen=True)
class _Asking:
    """What is asked, of whom."""

    token: Token
    host: str
    name: str
    addresses: tuple[str, ...]
    pending: Pending

    @property
    def where(self) -> str:
        """For messages."""
        return f'"{self.host}" port "{self.token.port}"'


@dataclass(frozen=True)
class _Answer:
    """What came back, and from which authority's node."""

    admission: Admission
    authority: Certificate


async def _ask_patiently(asking: _Asking) -> _Answer:
    """Ask again when the answer got lost: the same request gets the same answer."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await _ask(asking)
        except EOFError as error:
            if attempt == _ATTEMPTS:
                raise Unavailable(f"{asking.where} closes the connection", hint=_AGAIN) from error
        except ssl.SSLError as error:
            raise Unavailable(f"{asking.where} does not speak TLS 1.3 as it should", hint=_NOBODY) from error
        except TimeoutError as error:
            raise Unavailable(f"{asking.where} does not answer in time", hint=_NOBODY) from error
        except OSError as error:
            if attempt == _ATTEMPTS:
                raise Unavailable(f"nobody takes new nodes at {asking.where}", hint=_NOBODY) from error
        await asyncio.sleep(_PAUSE_S)
    raise AssertionError("the last attempt returns or raises")


async def _ask(asking: _Asking) -> _Answer:
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(asking.host, asking.token.port, ssl=unverified_context())
    try:
        authority, server = _believed(asking, writer, await hear(reader, Hello))
        proof = asking.token.proof(server, asking.name, asking.pending.request)
        await say(
            writer,
            Application(asking.token.id, asking.name, asking.addresses, asking.pending.request, proof),
        )
        return _Answer(await hear(reader, Admission), authority)
    finally:
        writer.close()


def _believed(asking: _Asking, writer: asyncio.StreamWriter, hello: Hello) -> tuple[Certificate, bytes]:
    """The authority, once it is the token's and issued what this connection shows; and the fingerprint of that."""
    from megatools.hostkit.x509 import Certificate

    wrong = PermissionDenied(
        f"at {asking.where} there is another cluster than the token is for",
        hint="a wrong host, an old token, or somebody in between",
    )
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    try:
        authority = Certificate.read(hello.authority)
        server = Certificate.read(shown)
        known = authority.fingerprint == asking.token.fingerprint and server.issued_by(authority)
        if not known or identity_of(server).cluster != cluster_of(authority):
            raise wrong
    except Corrupt as error:
        raise wrong from error
    return authority, server.fingerprint


def _checked(answer: _Answer, pending: Pending, name: str) -> Credentials:
    """The credentials out of an admission. Raises ProtocolError when they are not what was asked for."""
    try:
        from megatools.hostkit.x509 import Certificate, Key

        made = Credentials(Key.read(pending.key), Certificate.read(answer.admission.certificate), answer.authority)
        found = Credentials.read(made.pem)
    except Corrupt as error:
        raise ProtocolError("the authority sent something that is no certificate for this host") from error
    if found.identity.name != name:
        raise ProtocolError(f'the authority sent a certificate for "{found.identity.name}", not "{name}"')
    return found


def _pending(path: Path, token: Token) -> Pending:
    """What an earlier attempt with this token asked with, or something new."""
    from megatools.hostkit.x509 import Key

    with suppress(msgspec.MsgspecError):  # damaged, or of another version: never answered, so not missed
        found = msgspec.json.decode(read_private(path) or b"null", type=Pending)
        if found.invitation == token.id:
            return found
    key = Key.make()
    return Pending(token.id, key.pem, key.request())
