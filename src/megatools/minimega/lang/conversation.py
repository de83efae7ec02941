"""One client of the command socket: its requests in order, its replies, and its going away; used by `lang/server.py`.

::

    client --> _read --> requests (bounded queue) --> _answer --> _produce (the command) --+
    client <-- _deliver <-- outputs <------------------------------------------------------+

A client that leaves does not stop the command it has begun: the command runs to its end and what it still says is
dropped, as are requests that had not begun. A client that stops reading is dropped after `STALL_S` without progress.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeAlias

from megatools.hostkit.errors import InvalidInput, MegaError, ProtocolError, Unavailable, user_text
from megatools.minimega.lang.answer import Group, Response
from megatools.minimega.lang.call import Session
from megatools.minimega.lang.interpreter import Output
from megatools.minimega.lang.protocol import (
    Ask,
    ClassicAsk,
    ClassicReply,
    Framer,
    Question,
    Reply,
    decode,
    encode,
)

STALL_S = 30.0
DRAIN_S = 5.0
SUGGEST_S = 5.0
PATIENCE_S = 0.02
BUFFER_BYTES = 256 * 1024
_CHUNK_BYTES = 64 * 1024
_AHEAD = 16
_TURNS = 3

_Item: TypeAlias = Question | MegaError | None


class Commands(Protocol):
    """Who runs the command lines; the interpreter does."""

    def execute(self, line: str, session: Session) -> AsyncIterator[Output]:
        """What a line yields, group by group."""
        ...

    async def suggest(self, line: str, session: Session) -> list[str]:
        """How an unfinished line may go on."""
        ...


class Conversation:
    """A client's connection, from its first byte to its end."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        commands: Commands,
        *,
        host: str,
        namespace: str,
        stall_s: float = STALL_S,
    ) -> None:
        self.session = Session(namespace=namespace, source="socket", status=self._status)
        self.busy = False
        self._reader = reader
        self._writer = writer
        self._commands = commands
        self._host = host
        self._stall_s = stall_s
        self._gone = False
        self._speaks_status = False
        self._requests: asyncio.Queue[_Item] = asyncio.Queue(_AHEAD)

    async def run(self, on_change: Callable[[], None]) -> None:
        """Talk until the client leaves; `on_change` is called whenever `busy` has changed."""
        self._writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read())
                await self._answer(on_change)
                if self._gone:
                    reading.cancel()
        finally:
            await self._hang_up()

    async def _read(self) -> None:
        framer = Framer()
        with contextlib.suppress(ConnectionError):  # a reset is an end like any other
            while not framer.lost and (data := await self._reader.read(_CHUNK_BYTES)):
                for value in framer.feed(data):
                    await self._requests.put(_question(value))
        if framer.pending:
            await self._requests.put(ProtocolError("the request ended before it was complete"))
        await self._requests.put(None)
        if framer.lost:
            await self._discard()

    async def _discard(self) -> None:
        """Read on for a while, so that a client still sending gets to see why it is turned away."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(DRAIN_S):
                while await self._reader.read(_CHUNK_BYTES):
                    pass

    async def _answer(self, on_change: Callable[[], None]) -> None:
        while not self._gone and (item := await self._requests.get()) is not None:
            self.busy = True
            on_change()
            try:
                await self._reply_to(item)
            finally:
                self.busy = False
                on_change()

    async def _reply_to(self, item: Question | MegaError) -> None:
        match item:
            case MegaError():
                await self._send(Reply(resp=[Response(self._host, error=user_text(item))]))
            case Ask(command=str(line)):
                await self._command(line, _modern_reply, speaks_status=True)
            case Ask():
                await self._suggest(item.suggest or "")
            case ClassicAsk():
                line = " ".join((item.command, *item.args))
                await self._command(line, lambda output, more: _classic_reply(output, more, item.tid))

    async def _suggest(self, line: str) -> None:
        try:
            async with asyncio.timeout(SUGGEST_S):
                words = await self._commands.suggest(line, self.session)
        except TimeoutError:
            late = Unavailable(f"no suggestions within {SUGGEST_S} s")
            await self._send(Reply(resp=[Response(self._host, error=user_text(late))]))
        else:
            await self._send(Reply(suggest=words) if words else Reply())

    async def _command(
        self, line: str, form: Callable[[Output, bool], Reply | ClassicReply], *, speaks_status: bool = False
    ) -> None:
        outputs: asyncio.Queue[Output | None] = asyncio.Queue(1)
        self._speaks_status = speaks_status
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._produce(line, outputs))
                await self._deliver(outputs, form)
        finally:
            self._speaks_status = False

    async def _produce(self, line: str, outputs: asyncio.Queue[Output | None]) -> None:
        async for output in self._commands.execute(line, self.session):
            await outputs.put(output)
        await outputs.put(None)

    async def _deliver(
        self, outputs: asyncio.Queue[Output | None], form: Callable[[Output, bool], Reply | ClassicReply]
    ) -> None:
        """Send each output as soon as it is known whether it is the last, or when the next one takes its time."""
        output = await outputs.get()
        while output is not None:
            for _ in range(_TURNS):  # however late the loop is, a command that has no more to do gets to say so
                if outputs.empty():
                    await asyncio.sleep(0)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    following = await outputs.get()
            except TimeoutError:
                await self._send(form(output, True))
                output = await outputs.get()
            else:
                await self._send(form(output, following is not None))
                if following is None:
                    return
                output = following
        await self._send(form(Output(None, ""), False))

    def _status(self, text: str) -> None:
        """Progress for this client only; dropped when it does not keep up."""
        if self._speaks_status and not self._gone and self._writer.transport.get_write_buffer_size() < BUFFER_BYTES:
            self._writer.write(encode(Reply(rendered=text, status=True)))

    async def _send(self, reply: Reply | ClassicReply) -> None:
        if self._gone:
            return
        self._writer.write(encode(reply))
        self._gone = not await self._drained()

    async def _drained(self) -> bool:
        """Wait until the client has read enough; False when it has gone or stopped reading."""
        while True:
            left = self._writer.transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._writer.drain()
            except TimeoutError:
                if self._writer.transport.get_write_buffer_size() >= left:
                    return False
            except ConnectionError:
                return False
            else:
                return not self._writer.transport.is_closing()

    async def _hang_up(self) -> None:
        self._writer.close()
        if self._gone:
            self._writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            try:
                async with asyncio.timeout(DRAIN_S):
                    await self._writer.wait_closed()
            except TimeoutError:
                self._writer.transport.abort()


def _question(value: bytes | ProtocolError) -> Question | MegaError:
    if isinstance(value, ProtocolError):
        return value
    try:
        return decode(value)
    except InvalidInput as error:
        return error


def _modern_reply(output: Output, more: bool) -> Reply:
    return Reply(output.group, output.rendered, more=more)


def _classic_reply(output: Output, more: bool, tid: int) -> ClassicReply:
    group: Group = output.group or []
    text = group[0].response if len(group) == 1 and group[0].tabular is None else output.rendered
    return ClassicReply(text, "\n".join(response.error for response in group if response.error), more, tid)
