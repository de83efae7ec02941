"""New nodes are taken: on the authority's node, on a port of its own, while invitations are out.

The daemon has one `Enrolment`; what is said on the wire stands in `admission`, who is taken decides `issuing`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from megatools.hostkit.errors import InvalidState, MegaError, Unavailable, chain_text
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh.admission import ANSWER_S, ENROLMENT_PORT, Admission, Application, Hello, hear, say
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.exchange import refusal
from megatools.minimega.mesh.issuing import (
    INVITED_FOR,
    Authority,
    Invitation,
    Joining,
    open_authority,
    required_authority,
)
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.mesh.tls import server_context

_log = logging.getLogger(__name__)
_AT_ONCE = 32
_LOOK_S = 1.0


class Enrolment:
    """Takes new nodes; `address` is this host's (empty: it has none)."""

    def __init__(
        self,
        store: CredentialStore,
        supervisor: Supervisor,
        *,
        address: Callable[[], str],
        mesh_port: int,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._address = address
        self._port = mesh_port + ENROLMENT_PORT
        self._server: asyncio.Server | None = None
        self._at = ""
        self._keeping: asyncio.Task[None] | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def invite(self, name: str, role: Role, namespace: str, valid: timedelta = INVITED_FOR) -> Invitation:
        """A token for a new node, which is listened for from now on.

        Raises NotFound where the authority is not, AlreadyExists for a member's name, Unavailable, InvalidInput.
        """
        authority = required_authority(self._store)
        address = self._address()
        if not address:
            raise Unavailable("this host has no address that others could reach", hint="-address ADDRESS")
        await self._listen(address)
        self._keep()
        return authority.invite(name, role, namespace, self._port, (address,), valid)

    def resume(self) -> None:
        """Listen again for those whom an earlier daemon invited."""
        self._keep()

    @property
    def listening(self) -> bool:
        """Whether new nodes can ask."""
        return self._server is not None

    async def close(self) -> None:
        """Take nobody any more."""
        ending = [*self._talks, *([self._keeping] if self._keeping else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        self._stop()

    def _keep(self) -> None:
        if self._keeping is None or self._keeping.done():
            self._keeping = self._supervisor.start("enrolment", self._while_out())

    async def _while_out(self) -> None:
        """Listen where this host is while invitations are out."""
        try:
            while self._out():
                try:
                    await self._listen(self._address())
                except MegaError as error:
                    _log.warning("enrolment: %s", chain_text(error))
                await asyncio.sleep(_LOOK_S)
        except MegaError as error:
            _log.warning("enrolment: %s", chain_text(error))
        finally:
            self._stop()

    def _out(self) -> bool:
        authority = open_authority(self._store)
        now = self._store.clock.now()
        return authority is not None and any(one.awaited(now) for one in authority.invitations())

    async def _listen(self, address: str) -> None:
        if address == self._at:
            return
        self._stop()
        if not address:
            return
        own = self._store.load()
        if own is None:
            raise InvalidState("this host has the cluster's authority, but is no member", hint="cluster init")
        try:
            self._server = await asyncio.start_server(
                self._met, address, self._port, ssl=server_context(own), ssl_handshake_timeout=ANSWER_S
            )
        except OSError as error:
            raise Unavailable(f'cannot listen on "{address}" port "{self._port}" for new nodes') from error
        self._at = address

    def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None
        self._at = ""

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody connected."""
        if len(self._talks) >= _AT_ONCE:
            writer.close()
            return
        talk = self._supervisor.start("enrolment of a node", self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        talk.add_done_callback(lambda _: writer.close())

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            authority = required_authority(self._store)
            await say(writer, Hello(authority.certificate.der))
            application = await hear(reader, Application)
            try:
                certificate = self._decide(authority, application)
            except MegaError as error:
                _log.warning('node "%s" was not let into the cluster: %s', application.name, chain_text(error))
                await say(writer, Admission(refused=refusal(error)))
                return
            await say(writer, Admission(certificate, tuple(self._store.revoked.values())))
        except (MegaError, OSError, EOFError) as error:
            _log.info("enrolment: %s", chain_text(error))

    def _decide(self, authority: Authority, application: Application) -> bytes:
        own = self._store.load()
        if own is None:
            raise InvalidState("the authority's host has left the cluster")
        joining = Joining(
            application.invitation, application.name, application.addresses, application.request, application.proof
        )
        return authority.redeem(joining, own.certificate.fingerprint).der
