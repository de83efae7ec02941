"""Files of this host and of the whole mesh: `file list|get|stream|delete|status` (spec B.18)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.files.library import TransferRow
from megatools.minimega.files.store import FileRow
from megatools.minimega.lang.answer import Group, Response, Table, rows_table
from megatools.minimega.lang.registry import Family

family: Family[Services] = Family("file", "Files")
_PART_BYTES = 1 << 20


@family.command("file list [path]", "file list <path> <recursive,>")
async def file_list(call: Cmd, path: str = "", recursive: bool = False) -> Table:
    """List files of this host's file directory

    Names are relative to the file directory; a path may be a folder (`/` for all) or hold `*`, `?` and `[...]`. Files
    of other hosts are listed with `mesh send`:

        mesh send all file list
    """
    rows = await asyncio.to_thread(call.services.library.store.rows, path or "", recursive=recursive)
    return rows_table(FileRow, rows)


@family.command("file get <file>", preprocess=False)
async def file_get(call: Cmd, file: str) -> None:
    """Fetch a file from the other hosts

    The name may be a folder or hold `*`, `?` and `[...]`. The command returns when all is here, whole and checked;
    meanwhile `file status` shows how far it is. Chunks come from every host that has them, those that are fetching the
    same file included. What was interrupted goes on where it stopped. Of several versions of one name the one written
    last is taken. Files that are here already are left alone.
    """
    await call.services.library.get(_name(file), call.status)


@family.command("file stream <file>", preprocess=False)
async def file_stream(call: Cmd, file: str) -> AsyncIterator[Group]:
    """Send a file's content to the client, in parts, base64 in the field Data

    It is fetched first when it is not here.
    """
    library = call.services.library
    for name in await library.get(_name(file), call.status):
        path = library.store.existing(name)
        offset = 0
        while part := await asyncio.to_thread(_part, path, offset):
            offset += len(part)
            yield [Response(call.host, data=msgspec.Raw(msgspec.json.encode(base64.b64encode(part).decode())))]


@family.command("file delete <file>", preprocess=False)
async def file_delete(call: Cmd, file: str) -> None:
    """Delete files or folders of this host's file directory

    It is no error when there is none. Other hosts keep theirs; `mesh send all file delete x` deletes everywhere.
    """
    await asyncio.to_thread(call.services.library.store.delete, _name(file))


@family.command("file status")
async def file_status(call: Cmd) -> Table:
    """List the files on their way to this host

    `completed` counts chunks of 4 MiB; those that wait for others are `queued`.
    """
    return rows_table(TransferRow, call.services.library.status())


def _name(text: str) -> str:
    name = text.removeprefix("file:").strip("/")
    if not name:
        raise InvalidInput("no file name", hint="a name, a folder or a pattern like images/*.qcow2")
    return name


def _part(path: Path, offset: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(_PART_BYTES)
