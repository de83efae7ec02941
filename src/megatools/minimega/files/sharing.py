"""What a host tells its peers about its files, and asks them: mesh service `files`. Used by `library`.

Names are looked up at every peer at once. Contents are shared by id (`content/<id>`): whole files, and the chunks of
those on their way. Any member may look and pull, unless it is limited to a namespace (`lending`); nothing outside the
file directory is ever named.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

from megatools.hostkit.errors import MegaError, NotFound, PermissionDenied, ProtocolError, Unavailable
from megatools.minimega.files.content import Manifest
from megatools.minimega.files.incoming import Incoming, chunks_of
from megatools.minimega.files.lending import Lending
from megatools.minimega.files.store import FileStore
from megatools.minimega.mesh.mesh import Arrival, Caller, Ending, Mesh

SERVICE = "files"
_PREFIX = "content/"
_ASK_S = 5.0
_HASH_S = 600.0  # a large image is read through once before it can be promised


class LookUp(msgspec.Struct, frozen=True, tag=True):
    """Which files match a name, a glob or a folder?"""

    pattern: str


class Promise(msgspec.Struct, frozen=True, tag=True):
    """What is the content of this file?"""

    name: str


class Holding(msgspec.Struct, frozen=True, tag=True):
    """Which chunks of this content do you have?"""

    content: str


_Question: TypeAlias = LookUp | Promise | Holding


class Found(msgspec.Struct, frozen=True):
    """A file of a host: its name there, its size in bytes, and when it was written, in nanoseconds since the epoch."""

    name: str
    size: int
    modified_ns: int


class Held(msgspec.Struct, frozen=True):
    """Which chunks of a content a host has: all, or a bitmap."""

    whole: bool
    bitmap: bytes = b""


class LostSource(Unavailable):
    """The host that was to describe a file did not."""


def shared_name(content: str) -> str:
    """What a content is pulled as."""
    return _PREFIX + content


class Sharing:
    """This host's answers, and its questions."""

    def __init__(self, mesh: Mesh, store: FileStore, coming: Mapping[str, Incoming]) -> None:
        """`coming` are the contents on their way to this host, by id."""
        self._mesh = mesh
        self._store = store
        self._coming = coming
        self.lending = Lending(store)
        mesh.serve(SERVICE, self._answer)
        mesh.share(self._opened)

    # ---- asking

    async def look_up(self, pattern: str) -> Mapping[str, list[Found]]:
        """What matches at the other hosts that answer, by host. Raises PermissionDenied if all there is was refused."""
        refused: list[Arrival] = []
        answers = await self._ask(self._others(), LookUp(pattern), _ASK_S, refused=refused)
        found = {host: msgspec.msgpack.decode(data, type=list[Found]) for host, data in answers.items()}
        if refused and not any(found.values()):
            raise _refusal(refused[0])
        return found

    async def promise(self, host: str, name: str) -> Manifest:
        """What a host says a file of its holds. Raises NotFound, Unavailable, ProtocolError."""
        answers = await self._ask([host], Promise(name), _HASH_S, strict=True)
        manifest = msgspec.msgpack.decode(answers[host], type=Manifest)
        if not manifest.well_formed():
            raise ProtocolError(f'"{host}" described "{name}" wrongly')
        return manifest

    async def holders(self, manifest: Manifest) -> Mapping[str, Collection[int]]:
        """Which chunks of a content the other hosts that answer have; none is an answer too."""
        answers = await self._ask(self._others(), Holding(manifest.id), _ASK_S)
        found: dict[str, Collection[int]] = {}
        for host, data in answers.items():
            held = msgspec.msgpack.decode(data, type=Held)
            found[host] = range(manifest.count) if held.whole else chunks_of(held.bitmap, manifest.count)
        return found

    def _others(self) -> list[str]:
        return [member.name for member in self._mesh.members() if not member.doubled]

    async def _ask(
        self,
        hosts: Collection[str],
        question: _Question,
        timeout_s: float,
        *,
        strict: bool = False,
        refused: list[Arrival] | None = None,
    ) -> Mapping[str, bytes]:
        """The answers of those that gave one; `strict` raises when one did not, `refused` collects who may not say."""
        answers: dict[str, bytes] = {}
        request = msgspec.msgpack.encode(question)
        async for arrival in self._mesh.call(list(hosts), SERVICE, request, timeout_s=timeout_s):
            if arrival.ending is None:
                answers[arrival.host] = answers.get(arrival.host, b"") + arrival.payload
            elif arrival.ending is not Ending.DONE:
                answers.pop(arrival.host, None)
                if strict:
                    raise _refusal(arrival)
                if refused is not None and arrival.kind == PermissionDenied.__name__:
                    refused.append(arrival)
        return answers

    # ---- answering

    async def _answer(self, caller: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        try:
            question: _Question = msgspec.msgpack.decode(request, type=_Question)
        except msgspec.MsgspecError as error:
            raise ProtocolError("a question about files that is none") from error
        match question:
            case LookUp(pattern):
                await self.lending.check_name(caller, pattern)
                found = self._found(pattern)
                yield msgspec.msgpack.encode([one for one in found if not caller.namespace or one.name == pattern])
            case Promise(name):
                await self.lending.check_name(caller, name)
                manifest = await self._store.manifest(self._store.existing(name))
                self.lending.promise(caller, manifest.id)
                yield msgspec.msgpack.encode(manifest)
            case Holding(content):
                self.lending.check_content(caller, content)
                yield msgspec.msgpack.encode(self._held(content))

    def _found(self, pattern: str) -> list[Found]:
        found: list[Found] = []
        for name in self._store.files(pattern):
            status = self._store.inside(name).stat()
            found.append(Found(name, status.st_size, status.st_mtime_ns))
        return found

    def _held(self, content: str) -> Held:
        if self._store.place(content) is not None:
            return Held(whole=True)
        coming = self._coming.get(content)
        return Held(whole=False, bitmap=b"" if coming is None else coming.bitmap())

    def _opened(self, caller: Caller, name: str) -> Path:
        content = name.removeprefix(_PREFIX)
        self.lending.check_content(caller, content)
        path = self._store.place(content)
        if path is None and content in self._coming:
            path = self._coming[content].path
        if path is None:
            raise NotFound(f'no content "{content[:16]}"')
        return path


def _refusal(arrival: Arrival) -> MegaError:
    if arrival.kind == NotFound.__name__:
        return NotFound(arrival.error, hint=arrival.hint)
    if arrival.kind == PermissionDenied.__name__:
        return PermissionDenied(f"{arrival.host}: {arrival.error}", hint=arrival.hint)
    return LostSource(f"{arrival.host}: {arrival.error or arrival.ending}", hint=arrival.hint)
