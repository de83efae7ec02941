"""The QEMU guest agent: run programs, read files and ask for addresses inside a guest, over a UNIX socket.

One conversation at a time per guest; every exchange has a deadline. Source: QEMU Guest Agent Protocol Reference,
and the recipes of facts.md section 6 (resynchronise with guest-sync-delimited after every connect).
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from megatools.hostkit.errors import CommandFailed, ProtocolError, Unavailable

_SENTINEL = b"\xff"
_LINE_LIMIT = 32 << 20
_POLL_S = 0.05  # the agent has no event for "your program ended": its status must be asked for


T = TypeVar("T")


class ProgramResult(msgspec.Struct, frozen=True):
    """How a program inside the guest ended; status is None when a signal ended it."""

    status: int | None
    stdout: bytes
    stderr: bytes


class _Reply(msgspec.Struct, frozen=True):
    ret: msgspec.Raw = msgspec.field(name="return", default=msgspec.Raw(b"{}"))
    error: dict[str, str] | None = None


class _Pid(msgspec.Struct, frozen=True):
    pid: int


class _Status(msgspec.Struct, frozen=True):
    exited: bool
    exitcode: int | None = None
    out_data: str = msgspec.field(name="out-data", default="")
    err_data: str = msgspec.field(name="err-data", default="")


class Agent:
    """A conversation with one guest's agent. Use as `async with await Agent.connect(path) as agent`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s

    @classmethod
    async def connect(cls, path: Path, *, timeout_s: float = 5.0) -> Agent:
        """Connect and synchronise; raises Unavailable when no agent answers in time."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_unix_connection(str(path), limit=_LINE_LIMIT)
                agent = cls(reader, writer, timeout_s)
                try:
                    await agent._synchronise()
                except BaseException:
                    writer.close()
                    raise
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise Unavailable(
                f'no guest agent answers at "{path}"', hint="is the guest up, with qemu-guest-agent?"
            ) from error
        return agent

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def ping(self) -> None:
        """Return when the agent answers."""
        await self._ask("guest-ping")

    async def run(self, *argv: str, timeout_s: float = 30.0) -> ProgramResult:
        """Run a program in the guest to its end. Raises Unavailable when it is too slow."""
        started = await self._ask("guest-exec", {"path": argv[0], "arg": list(argv[1:]), "capture-output": True})
        pid = _decode(started, _Pid).pid
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._status(pid)
                while not status.exited:
                    await asyncio.sleep(_POLL_S)
                    status = await self._status(pid)
        except TimeoutError as error:
            raise Unavailable(f'"{argv[0]}" in the guest did not finish within {timeout_s:g} s') from error
        return ProgramResult(status.exitcode, base64.b64decode(status.out_data), base64.b64decode(status.err_data))

    async def _status(self, pid: int) -> _Status:
        return _decode(await self._ask("guest-exec-status", {"pid": pid}), _Status)

    async def _ask(self, command: str, arguments: dict[str, object] | None = None) -> msgspec.Raw:
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        try:
            async with asyncio.timeout(self._timeout_s):
                self._writer.write(msgspec.json.encode(request) + b"\n")
                await self._writer.drain()
                line = await self._reader.readuntil(b"\n")
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f'the guest agent did not answer "{command}"') from error
        return _result(line, command)

    async def _synchronise(self) -> None:
        token = secrets.randbits(31)
        request = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
        self._writer.write(_SENTINEL + msgspec.json.encode(request) + b"\n")
        while True:
            await self._reader.readuntil(_SENTINEL)  # whatever an earlier client left unread
            answer = _result(await self._reader.readuntil(b"\n"), "guest-sync-delimited")
            if msgspec.json.decode(answer) == token:
                return


def _result(line: bytes, command: str) -> msgspec.Raw:
    try:
        reply = msgspec.json.decode(line, type=_Reply)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f'the guest agent answered "{command}" with {line[:80]!r}') from error
    if reply.error is not None:
        raise CommandFailed(f'the guest agent refused "{command}": {reply.error.get("desc", "no reason given")}')
    return reply.ret


def _decode(raw: msgspec.Raw, kind: type[T]) -> T:
    return msgspec.json.decode(raw, type=kind)
