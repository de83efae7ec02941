r"""The files of a whole cluster as one host sees them: fetch by name, list, and see what is on its way.

Made by `app`; commands, the `file:` prefix and launches call it. A transfer of a name runs once for all who want it;
what is fetched appears under its name whole, or not at all::

    look up everywhere -> choose a version -> promise (manifest) -> here already? copy
                                                                \-> incoming -> swarm -> publish
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from megatools.hostkit.errors import AlreadyExists, InvalidState, NotFound
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.files.content import Manifest
from megatools.minimega.files.incoming import Incoming
from megatools.minimega.files.lending import Awaited
from megatools.minimega.files.sharing import Found, LostSource, Sharing, shared_name
from megatools.minimega.files.store import FileStore
from megatools.minimega.files.swarm import Changed, Swarm
from megatools.minimega.mesh.mesh import Mesh

_TRIES = 3  # for files that change while they are fetched
_AT_ONCE = 4
_TELL_S = 0.5

Tell = Callable[[str], None]


class TransferRow(msgspec.Struct, frozen=True):
    """A line of `file status`: chunks completed of all, and the place in the queue (0: running)."""

    filename: str
    tempdir: str
    completed: str
    queued: bool


@dataclass
class _Transfer:
    name: str
    task: asyncio.Task[None]
    done: asyncio.Future[None]
    incoming: Incoming | None = None


class Library:
    """Files here and at the peers."""

    def __init__(self, mesh: Mesh, store: FileStore, supervisor: Supervisor) -> None:
        self.store = store
        self._mesh = mesh
        self._supervisor = supervisor
        self._coming: dict[str, Incoming] = {}
        self._contents: dict[str, asyncio.Lock] = {}
        self._sharing = Sharing(mesh, store, self._coming)
        self._transfers: dict[str, _Transfer] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def lend(self, awaited: Awaited) -> None:
        """Say which images launches of a namespace wait for: nodes limited to it may have those."""
        self._sharing.lending.awaited = awaited

    def status(self) -> list[TransferRow]:
        """The transfers that run or wait, in the order they were asked for."""
        return [_row(transfer) for transfer in self._transfers.values()]

    async def get(self, pattern: str, tell: Tell | None = None) -> list[str]:
        """Fetch files that are not here, by name, glob or folder; returns the names once all are whole.

        Raises NotFound (nobody has it), PermissionDenied (nobody lets us), AlreadyExists (on its way already),
        Unavailable (no room, nobody left).
        """
        if self.store.files(pattern) and self.store.inside(pattern).is_file():
            return [pattern]
        wanted = self._newest(await self._sharing.look_up(pattern))
        here = self.store.files(pattern)
        if not wanted and not here:
            raise NotFound(f"get {pattern}: file not found", hint="no host of the mesh has it; file list")
        missing = [name for name in wanted if name not in here]
        for name in missing:
            if name in self._transfers:
                raise AlreadyExists("file already in flight", hint=f'file status shows "{name}"')
        await self._fetch({name: wanted[name] for name in missing}, tell)
        return sorted({*wanted, *here})

    async def ensure(self, names: Sequence[str], tell: Tell | None = None) -> None:
        """Fetch files by their exact names, those on their way included. Raises NotFound, Unavailable."""
        missing = [name for name in names if not self.store.inside(name).is_file()]
        await self._fetch(dict.fromkeys(missing, ""), tell)

    # inside

    async def _fetch(self, names: Mapping[str, str], tell: Tell | None) -> None:
        """Fetch files; beside each name stands the host to take it from, where that is known."""
        transfers = [self._transfers.get(name) or self._begin(name, host) for name, host in names.items()]
        if not transfers:
            return
        telling = None if tell is None else asyncio.create_task(self._tell(transfers, tell))
        try:
            results = await asyncio.gather(
                *(asyncio.shield(transfer.done) for transfer in transfers), return_exceptions=True
            )
        finally:
            if telling is not None:
                telling.cancel()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _begin(self, name: str, host: str) -> _Transfer:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        task = self._supervisor.start(f"get {name}", self._transfer(name, host, done))
        transfer = self._transfers[name] = _Transfer(name, task, done)
        task.add_done_callback(lambda _: done.done() or done.cancel())
        return transfer

    async def _transfer(self, name: str, host: str, done: asyncio.Future[None]) -> None:
        try:
            async with self._slots:
                await self._try(name, host)
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            done.set_exception(error)
        else:
            done.set_result(None)
        finally:
            self._transfers.pop(name, None)

    async def _try(self, name: str, host: str) -> None:
        for _ in range(_TRIES):
            source = host or self._newest(await self._sharing.look_up(name)).get(name, "")
            if not source:
                raise NotFound(f"get {name}: file not found", hint="no host of the mesh has it")
            try:
                await self._bring(name, source, await self._sharing.promise(source, name))
            except (Changed, LostSource):
                host = ""
            else:
                return
        raise InvalidState(f'"{name}" changes while it is fetched ({_TRIES} times)', hint="wait until it is complete")

    async def _bring(self, name: str, host: str, manifest: Manifest) -> None:
        content = manifest.id
        lock = self._contents.setdefault(content, asyncio.Lock())  # two names of one content: fetched once
        async with lock:
            try:
                place = self.store.place(content)
                if place is not None:
                    await self.store.copy(place, name, manifest)
                    return
                await self._pull(name, host, manifest)
            finally:
                self._contents.pop(content, None)

    async def _pull(self, name: str, host: str, manifest: Manifest) -> None:
        content = manifest.id
        incoming = Incoming(self.store.private / "incoming" / content, manifest)
        await incoming.open()
        transfer = self._transfers.get(name)
        if transfer is not None:
            transfer.incoming = incoming
        self._coming[content] = incoming
        try:
            held = partial(self._sharing.holders, manifest)
            await Swarm(self._mesh, incoming, shared_name(content), held, origin=host).run()
            await self.store.publish(incoming.path, name, manifest)
        finally:
            del self._coming[content]
            incoming.close()

    async def _tell(self, transfers: Sequence[_Transfer], tell: Tell) -> None:
        while True:
            await asyncio.sleep(_TELL_S)  # how often a person wants to be told, not a wait for something
            lines = [_progress(each) for each in transfers if not each.done.done()]
            tell("; ".join(lines[:4]))

    def _newest(self, found: Mapping[str, Sequence[Found]]) -> dict[str, str]:
        """Which host to take each name from: where it was written last, ties by host name."""
        best: dict[str, tuple[int, str]] = {}
        for host in sorted(found):
            for file in found[host]:
                if file.name not in best or file.modified_ns > best[file.name][0]:
                    best[file.name] = (file.modified_ns, host)
        return {name: host for name, (_, host) in sorted(best.items())}


def _row(transfer: _Transfer) -> TransferRow:
    incoming = transfer.incoming
    if incoming is None:
        return TransferRow(transfer.name, "", "0/?", queued=True)
    return TransferRow(
        transfer.name, str(incoming.path), f"{len(incoming.have)}/{incoming.manifest.count}", queued=False
    )


def _progress(transfer: _Transfer) -> str:
    incoming = transfer.incoming
    if incoming is None:
        return f"{transfer.name}: waiting"
    size = incoming.manifest.size
    return f"{transfer.name}: {incoming.bytes_here >> 20} of {size >> 20} MiB"
