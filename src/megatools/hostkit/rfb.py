"""A small RFB (VNC) client: handshake, keys, pointer, and the screen as pixels; anyone may call it.

Two halves: pure functions that build messages (pictures are in `picture`), and `Client`, which talks over a `Pipe`:
a UNIX socket (`dial_unix`) or a websocket (`dial_websocket`). It asks for plain 32-bit pixels and understands the
encodings raw, copy-rectangle and desktop-size, which every server offers. Source: RFC 6143 and, for extra
encodings, the rfbproto community specification.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from megatools.hostkit.errors import ProtocolError, Unavailable
from megatools.hostkit.picture import PIXEL_BYTES, Canvas, Picture, Region, changed_region

__all__ = ["Client", "Picture", "Pipe", "Region", "changed_region", "dial_unix", "dial_websocket"]

SHIFT, CONTROL, ALT, RETURN, ESCAPE, TAB, BACKSPACE, DELETE = (
    0xFFE1,
    0xFFE3,
    0xFFE9,
    0xFF0D,
    0xFF1B,
    0xFF09,
    0xFF08,
    0xFFFF,
)

_SHIFTED = frozenset('~!@#$%^&*()_+{}|:"<>?ABCDEFGHIJKLMNOPQRSTUVWXYZ')
_SPECIAL = {"\n": RETURN, "\r": RETURN, "\t": TAB, "\b": BACKSPACE, "\x1b": ESCAPE}

_RAW, _COPY, _DESKTOP_SIZE = 0, 1, -223
_CHUNK_BYTES = 65536


# -- pure half ---------------------------------------------------------------------------------------------------


def key_event(keysym: int, *, down: bool) -> bytes:
    """The message for one key going down or up; keysyms are X11's."""
    return struct.pack(">BBxxI", 4, down, keysym)


def pointer_event(x: int, y: int, buttons: int = 0) -> bytes:
    """The message for the pointer at a place in pixels; bit 0 of `buttons` is the left one."""
    return struct.pack(">BBHH", 5, buttons, x, y)


def update_request(width: int, height: int, *, incremental: bool) -> bytes:
    """The message asking for the screen, or for what changed since the last update."""
    return struct.pack(">BBHHHH", 3, incremental, 0, 0, width, height)


def set_pixel_format() -> bytes:
    """The message asking for 32 bits a pixel in the byte order blue, green, red, unused."""
    return struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


def set_encodings(*encodings: int) -> bytes:
    """The message naming the encodings we understand, the best first."""
    return struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings)


def keystrokes(text: str) -> Iterator[tuple[int, bool]]:
    """(keysym, down) for typing a text on a US keyboard; newline is Return."""
    for char in text:
        if char in _SHIFTED:
            yield SHIFT, True
        keysym = keysym_of(char)
        yield keysym, True
        yield keysym, False
        if char in _SHIFTED:
            yield SHIFT, False


def keysym_of(char: str) -> int:
    """The X11 keysym of a character: Latin-1 as it is, the rest of Unicode above 0x1000000."""
    if char in _SPECIAL:
        return _SPECIAL[char]
    code = ord(char)
    return code if code < 0x100 else 0x1000000 + code


# -- async half --------------------------------------------------------------------------------------------------


class Pipe(Protocol):
    """Bytes both ways, whatever carries them."""

    async def send(self, data: bytes) -> None:
        """Hand bytes over; waits while the other side is slow."""
        ...

    async def receive(self) -> bytes:
        """The next bytes; empty at the end."""
        ...

    async def close(self) -> None:
        """End the conversation; may be called twice."""
        ...


class _StreamPipe:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        return await self._reader.read(_CHUNK_BYTES)

    async def close(self) -> None:
        self._writer.close()


async def dial_unix(path: Path, *, timeout_s: float = 5.0) -> Pipe:
    """A pipe to a VNC server's UNIX socket; raises Unavailable when nothing answers there."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path))
    except (OSError, TimeoutError) as error:
        raise Unavailable(f'no console answers at "{path}"') from error
    return _StreamPipe(reader, writer)


async def dial_websocket(
    url: str, *, token: str = "", headers: Mapping[str, str] | None = None, timeout_s: float = 10.0
) -> Pipe:
    """A pipe through a websocket (`ws://host:port/path`); the token goes as a bearer token.

    Raises Unavailable when nothing answers, or when the server refuses (its status is in the message).
    """
    from megatools.hostkit.websocket import open_websocket  # the library costs 60 ms of import

    sent = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    return await open_websocket(url, headers=sent, timeout_s=timeout_s)


class Client:
    """A viewer of one screen. Use as `async with await Client.connect(pipe) as client`.

    Not for several tasks at once. Every wait has a deadline and raises Unavailable when it passes; hang up then,
    for a message may be half read.
    """

    def __init__(self, pipe: Pipe, *, timeout_s: float) -> None:
        self._pipe = pipe
        self._timeout_s = timeout_s
        self._buffer = bytearray()
        self._canvas = Canvas(1, 1)
        self.name = ""

    @classmethod
    async def connect(cls, pipe: Pipe, *, timeout_s: float = 10.0) -> Client:
        """Shake hands (shared, no password) and agree on pixels; closes the pipe when that fails."""
        client = cls(pipe, timeout_s=timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await client._handshake()
        except TimeoutError as error:
            await pipe.close()
            raise Unavailable(f"the console did not finish its handshake within {timeout_s:g} s") from error
        except BaseException:
            await pipe.close()
            raise
        return client

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up; the server and other viewers go on."""
        await self._pipe.close()

    @property
    def picture(self) -> Picture:
        """The screen as far as it was received."""
        return self._canvas.picture()

    async def refresh(self) -> Picture:
        """Ask for the whole screen and return it."""
        return await self._update(incremental=False, timeout_s=self._timeout_s)

    async def wait_for(self, accept: Callable[[Picture], bool], *, timeout_s: float) -> Picture:
        """The first picture that `accept` accepts; raises Unavailable after `timeout_s`."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        picture = await self.refresh()
        while not accept(picture):
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                raise Unavailable(f"the screen did not become what was awaited within {timeout_s:g} s")
            picture = await self._update(incremental=True, timeout_s=left_s)
        return picture

    async def key(self, keysym: int, *, down: bool) -> None:
        """Press or release one key."""
        await self._pipe.send(key_event(keysym, down=down))

    async def press(self, *keysyms: int) -> None:
        """Press keys together and release them in reverse, as in `press(CONTROL, ALT, DELETE)`."""
        await self._pipe.send(b"".join(key_event(keysym, down=True) for keysym in keysyms))
        await self._pipe.send(b"".join(key_event(keysym, down=False) for keysym in reversed(keysyms)))

    async def type_text(self, text: str) -> None:
        """Type a text, one message a key; QEMU queues them for the guest at its own pace."""
        for keysym, down in keystrokes(text):
            await self.key(keysym, down=down)

    async def point(self, x: int, y: int, buttons: int = 0) -> None:
        """Move the pointer, with the buttons held."""
        await self._pipe.send(pointer_event(x, y, buttons))

    # -- the conversation --

    async def _handshake(self) -> None:
        version = await self._exactly(12)
        if not version.startswith(b"RFB 003."):
            raise ProtocolError(f"not a VNC server: it says {bytes(version)!r}")
        await self._pipe.send(b"RFB 003.008\n")
        kinds = await self._exactly((await self._exactly(1))[0])
        if not kinds:
            raise Unavailable(f"the VNC server refuses: {await self._text()}")
        if 1 not in kinds:
            raise ProtocolError(f"the VNC server wants a password (security types {list(kinds)})")
        await self._pipe.send(b"\x01")
        if await self._exactly(4) != b"\0\0\0\0":
            raise Unavailable(f"the VNC server refuses: {await self._text()}")
        await self._pipe.send(b"\x01")  # shared: other viewers stay
        width, height = struct.unpack(">HH16x", await self._exactly(20))
        self.name = await self._text()
        self._canvas.resize(width, height)
        await self._pipe.send(set_pixel_format() + set_encodings(_RAW, _COPY, _DESKTOP_SIZE))

    async def _update(self, *, incremental: bool, timeout_s: float) -> Picture:
        await self._pipe.send(update_request(self._canvas.width, self._canvas.height, incremental=incremental))
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._message():
                    pass
        except TimeoutError as error:
            raise Unavailable(f"the console sent no picture within {timeout_s:g} s") from error
        return self.picture

    async def _message(self) -> bool:
        """Read one message from the server; True when it was a picture."""
        kind = (await self._exactly(1))[0]
        match kind:
            case 0:
                (count,) = struct.unpack(">xH", await self._exactly(3))
                for _ in range(count):
                    await self._rectangle()
                return True
            case 1:
                (count,) = struct.unpack(">xHH", await self._exactly(5))[1:]
                await self._exactly(count * 6)
            case 2:
                pass
            case 3:
                await self._exactly(3)
                await self._text()
            case _:
                raise ProtocolError(f'the VNC server sent a message of unknown type "{kind}"')
        return False

    async def _rectangle(self) -> None:
        x, y, width, height, encoding = struct.unpack(">HHHHi", await self._exactly(12))
        match encoding:
            case 0:
                self._canvas.check(x, y, width, height)
                self._canvas.draw(x, y, width, height, await self._exactly(width * height * PIXEL_BYTES))
            case 1:
                from_x, from_y = struct.unpack(">HH", await self._exactly(4))
                self._canvas.copy(x, y, width, height, from_x, from_y)
            case -223:
                self._canvas.resize(width, height)
            case _:
                raise ProtocolError(f'the VNC server used encoding "{encoding}", which was not offered')

    async def _text(self) -> str:
        (length,) = struct.unpack(">I", await self._exactly(4))
        if length > 1 << 20:
            raise ProtocolError(f"a text of {length} bytes is longer than the limit of {1 << 20}")
        return (await self._exactly(length)).decode("utf-8", errors="replace")

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = await self._pipe.receive()
            if not data:
                raise Unavailable("the console ended the connection")
            self._buffer += data
        out = bytes(self._buffer[:count])
        del self._buffer[:count]
        return out
