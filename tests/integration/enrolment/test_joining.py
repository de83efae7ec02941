"""A host joins a cluster with a token: once, only at the right place, and never half."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.clock import Clock, FakeClock, SystemClock
from megatools.hostkit.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidState,
    MegaError,
    PermissionDenied,
    Unavailable,
    user_text,
)
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh import enrolment
from megatools.minimega.mesh.admission import Admission, Application, Hello
from megatools.minimega.mesh.credentials import CredentialStore, Revocation
from megatools.minimega.mesh.enrolment import Enrolment
from megatools.minimega.mesh.issuing import found_cluster, required_authority
from megatools.minimega.mesh.joining import join
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.mesh.tls import server_context, unverified_context
from megatools.minimega.mesh.token import Token, read_token

_HERE = "127.0.0.1"
_ports = itertools.count(24000 + os.getpid() % 1000 * 8)


class Place:
    """The authority's node, and directories for hosts that want to join."""

    def __init__(self, directory: Path, supervisor: Supervisor, clock: Clock | None = None) -> None:
        self._directory = directory
        self.store = CredentialStore(directory / "kn0", "kn0", clock)
        self.authority = found_cluster(self.store, "knights", ())
        self.enrolment = Enrolment(self.store, supervisor, address=lambda: _HERE, mesh_port=next(_ports))

    async def token(self, name: str = "", role: Role = Role.FULL, namespace: str = "") -> str:
        return (await self.enrolment.invite(name, role, namespace)).token.text

    def host(self, name: str) -> CredentialStore:
        return CredentialStore(self._directory / name, name)

    def members(self) -> list[str]:
        return [entry.name for entry in required_authority(self.store).issued()]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with Supervisor("test") as supervisor:
        found = Place(tmp_path, supervisor)
        yield found
        await found.enrolment.close()
        assert supervisor.running == ()


async def refused(store: CredentialStore, token: str, kind: type[MegaError], host: str = _HERE) -> str:
    with pytest.raises(kind) as raised:
        await join(store, host, token)
    assert store.load() is None
    return user_text(raised.value)


async def test_a_host_joins(place: Place) -> None:
    place.store.revoke([Revocation("abc", "old", "old#abc", 5)])
    token = await place.token("kn1", Role.READ_ONLY, "red")
    store = place.host("kn1")
    heard: list[int] = []
    store.listen(lambda: heard.append(1))
    await join(store, _HERE, token, ("10.0.0.2",))
    found = store.load()
    assert found is not None and heard
    assert (found.identity.role, found.identity.namespace) == (Role.READ_ONLY, "red")
    assert found.cluster == place.authority.cluster
    assert found.certificate.names.addresses == ("10.0.0.2",)
    assert list(store.revoked) == ["abc"]
    assert {path.name for path in store.directory.iterdir()} == {"node.pem", "revoked.json", "lock"}
    assert {path.stat().st_mode & 0o777 for path in store.directory.iterdir()} == {0o600}
    assert place.members() == ["kn0", "kn1"]
    with pytest.raises(AlreadyExists, match="in a cluster already"):
        await join(store, _HERE, await place.token())


async def test_the_secret_is_not_sent(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await place.token()
    heard: list[bytes] = []
    listen = enrolment.hear

    async def record(reader: asyncio.StreamReader, kind: type[Application]) -> Application:
        application = await listen(reader, kind)
        heard.append(msgspec.msgpack.encode(application))
        return application

    monkeypatch.setattr(enrolment, "hear", record)
    await join(place.host("kn1"), _HERE, token)
    assert heard and read_token(token).secret not in heard[0]


async def test_a_token_is_good_for_one_host(place: Place) -> None:
    token = await place.token()
    await join(place.host("kn1"), _HERE, token)
    assert "this token was used already" in await refused(place.host("kn2"), token, InvalidState)
    assert not (place.host("kn2").directory / "joining.json").exists()
    assert place.members() == ["kn0", "kn1"]


async def test_a_name_is_taken_once(place: Place) -> None:
    first, second = await place.token(), await place.token()
    await join(place.host("kn1"), _HERE, first)
    other = CredentialStore(place.host("elsewhere").directory, "kn1")
    text = await refused(other, second, AlreadyExists)
    assert 'a node called "kn1" is in the cluster since' in text and "cluster revoke kn1" in text
    entry = required_authority(place.store).member("kn1")
    assert entry is not None
    place.store.revoke([entry.revocation(place.store.clock.now())])
    await join(other, _HERE, second)
    assert place.members() == ["kn0", "kn1", "kn1"]


async def test_the_token_of_another_node_or_cluster_is_refused(place: Place, tmp_path: Path) -> None:
    named = await place.token("kn7")
    assert 'for a node called "kn7", not "kn1"' in await refused(place.host("kn1"), named, PermissionDenied)
    ours = read_token(named)
    invented = Token(ours.fingerprint, bytes(16), ours.port)
    assert "unknown here, or has expired" in await refused(place.host("kn1"), invented.text, PermissionDenied)
    other = found_cluster(CredentialStore(tmp_path / "other", "kn9"), "", ())
    foreign = other.invite("", Role.FULL, "", ours.port, ())
    assert "another cluster than the token is for" in await refused(
        place.host("kn1"), foreign.token.text, PermissionDenied
    )
    assert place.members() == ["kn0"]


async def test_an_expired_token_is_refused_and_the_listener_closes(tmp_path: Path) -> None:
    clock = FakeClock(SystemClock().now())
    async with Supervisor("test") as supervisor:
        place = Place(tmp_path, supervisor, clock)
        token = await place.token()
        assert place.enrolment.listening
        clock.advance(timedelta(hours=1, seconds=1).total_seconds())
        async with asyncio.timeout(30):
            while place.enrolment.listening:
                await asyncio.sleep(0.05)
        assert "nobody takes new nodes" in await refused(place.host("kn1"), token, Unavailable)
        await place.enrolment.close()


async def test_nothing_listens_without_an_invitation(place: Place) -> None:
    place.enrolment.resume()
    await asyncio.sleep(0)
    assert not place.enrolment.listening
    token = await place.token()
    await place.enrolment.close()
    assert "nobody takes new nodes" in await refused(place.host("kn1"), token, Unavailable)
    place.enrolment.resume()  # a daemon that was started again
    async with asyncio.timeout(30):
        while not place.enrolment.listening:
            await asyncio.sleep(0.02)
    await join(place.host("kn1"), _HERE, token)


async def test_a_lost_answer_is_asked_for_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority has noted the node when the connection breaks, as often as a join tries: the next one gets it."""
    token = await place.token()
    lost: list[Admission] = []
    speak = enrolment.say

    async def lose(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
        if isinstance(message, Admission):
            lost.append(message)
            raise ConnectionResetError("lost")
        await speak(writer, message)

    monkeypatch.setattr(enrolment, "say", lose)
    store = place.host("kn1")
    text = await refused(store, token, Unavailable)
    assert "closes the connection" in text and "given again" in text
    assert len(lost) == 3 and len({message.certificate for message in lost}) == 1
    assert place.members() == ["kn0", "kn1"]
    monkeypatch.setattr(enrolment, "say", speak)
    await join(store, _HERE, token)
    found = store.load()
    assert found is not None and found.certificate.der == lost[0].certificate
    assert place.members() == ["kn0", "kn1"]


@pytest.mark.parametrize("days", [-400, 5 * 365 + 1])
async def test_a_host_with_a_wrong_clock_is_told_and_can_repeat(place: Place, days: int) -> None:
    clock = FakeClock(SystemClock().now() + timedelta(days=days))
    store = CredentialStore(place.host("kn1").directory, "kn1", clock)
    token = await place.token()
    with pytest.raises(InvalidState, match=r"not valid before|expired on"):
        await join(store, _HERE, token)
    assert not (store.directory / "node.pem").exists()
    clock.advance(-timedelta(days=days).total_seconds())
    await join(store, _HERE, token)
    assert store.load() is not None


async def test_somebody_in_between_gets_no_proof(place: Place, tmp_path: Path) -> None:
    """Who has the authority's certificate, which is no secret, and a certificate of another cluster, learns nothing."""
    token = read_token(await place.token())
    other_store = CredentialStore(tmp_path / "other", "kn0")
    found_cluster(other_store, "knights", ())
    own = other_store.load()
    assert own is not None
    heard: list[bytes] = []

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await enrolment.say(writer, Hello(place.authority.certificate.der))
        heard.append(await reader.read(1000))
        writer.close()

    port = next(_ports) + 5
    async with await asyncio.start_server(pretend, _HERE, port, ssl=server_context(own)):
        text = await refused(place.host("kn1"), Token(token.fingerprint, token.secret, port).text, PermissionDenied)
        assert "somebody in between" in text
        async with asyncio.timeout(10):
            while not heard:
                await asyncio.sleep(0.01)
    assert heard == [b""]


async def test_garbage_and_silence_do_not_stop_others(place: Place) -> None:
    token = await place.token()
    port = read_token(token).port
    plain_reader, plain = await asyncio.open_connection(_HERE, port)
    plain.write(b"GET / HTTP/1.0\r\n\r\n")
    _, silent = await asyncio.open_connection(_HERE, port, ssl=unverified_context())
    odd_reader, odd = await asyncio.open_connection(_HERE, port, ssl=unverified_context())
    odd.write(b"\xff" * 100)
    await join(place.host("kn1"), _HERE, token)
    async with asyncio.timeout(10):
        assert b"HTTP" not in await plain_reader.read()
        assert b"kn1" not in await odd_reader.read()
    for writer in (plain, silent, odd):
        writer.close()


async def test_what_is_no_token_is_refused_before_anything_is_asked(place: Place) -> None:
    assert "no token" in await refused(place.host("kn1"), "secret", InvalidInput)
    odd = CredentialStore(place.host("kn1").directory, "kn 1")
    with pytest.raises(InvalidInput, match="not a name for a node"):
        await join(odd, _HERE, await place.token())


async def test_a_full_disk_uses_no_token(place: Place) -> None:
    token = await place.token()
    full = CredentialStore(Path("/proc/self/kn1"), "kn1")
    with pytest.raises(Unavailable, match="cannot make"):
        await join(full, _HERE, token)
    await join(place.host("kn1"), _HERE, token)
