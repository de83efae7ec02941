"""The RFB client's pure half, and its conversation against a scripted server."""

from __future__ import annotations

import asyncio
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit import rfb
from megatools.hostkit.errors import ProtocolError, Unavailable
from megatools.hostkit.picture import Canvas, Picture, Region, changed_region


class ScriptedPipe:
    """Answers with the chunks given, then with the end; keeps what was sent."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)
        self.sent = b""
        self.closed = False

    async def send(self, data: bytes) -> None:
        self.sent += data

    async def receive(self) -> bytes:
        return self.chunks.pop(0) if self.chunks else b""

    async def close(self) -> None:
        self.closed = True


def hello(width: int = 4, height: int = 2, name: bytes = b"guest") -> bytes:
    init = struct.pack(">HH16xI", width, height, len(name)) + name
    return b"RFB 003.008\n" + b"\x02\x02\x01" + b"\0\0\0\0" + init


def update(*rectangles: bytes) -> bytes:
    return struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles)


def raw(x: int, y: int, width: int, height: int, pixel: bytes) -> bytes:
    return struct.pack(">HHHHi", x, y, width, height, 0) + pixel * (width * height)


RED = b"\0\0\xff\x07"  # the last byte is unused: servers may leave anything there


def test_keystrokes_hold_shift_for_capitals_only() -> None:
    assert list(rfb.keystrokes("aB\n")) == [
        (ord("a"), True),
        (ord("a"), False),
        (rfb.SHIFT, True),
        (ord("B"), True),
        (ord("B"), False),
        (rfb.SHIFT, False),
        (rfb.RETURN, True),
        (rfb.RETURN, False),
    ]


@given(st.text())
def test_every_key_that_goes_down_comes_up(text: str) -> None:
    held: list[int] = []
    for keysym, down in rfb.keystrokes(text):
        if down:
            held.append(keysym)
        else:
            held.remove(keysym)
    assert held == []


def test_messages_are_those_of_the_rfc() -> None:
    assert rfb.key_event(0xFF0D, down=True) == bytes.fromhex("0401 0000 0000ff0d")
    assert rfb.pointer_event(1, 2, 1) == bytes.fromhex("05 01 0001 0002")
    assert rfb.update_request(640, 480, incremental=True) == bytes.fromhex("03 01 0000 0000 0280 01e0")
    assert len(rfb.set_pixel_format()) == 20
    assert rfb.set_encodings(0, -223) == bytes.fromhex("02 00 0002 00000000 ffffff21")


@given(st.integers(2, 9), st.integers(2, 9), st.data())
def test_changed_region_is_exactly_the_rectangle_drawn(width: int, height: int, data: st.DataObject) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    canvas = Canvas(width, height)
    before = canvas.picture()
    canvas.draw(left, top, right - left, bottom - top, RED * ((right - left) * (bottom - top)))
    assert changed_region(before, before) is None
    assert changed_region(before, canvas.picture()) == Region(left, top, right, bottom)


def test_copying_an_overlapping_rectangle() -> None:
    canvas = Canvas(3, 1)
    canvas.draw(0, 0, 3, 1, b"\1\0\0\0\2\0\0\0\3\0\0\0")
    canvas.copy(1, 0, 2, 1, 0, 0)
    assert canvas.picture().pixels == b"\1\0\0\0\1\0\0\0\2\0\0\0"


def test_png_holds_the_pixels_red_first() -> None:
    png = Picture(1, 1, b"\1\2\3\0").png()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    start = png.index(b"IDAT") + 4
    length = int.from_bytes(png[start - 8 : start - 4], "big")
    assert zlib.decompress(png[start : start + length]) == b"\0\3\2\1"


@given(st.integers(1, 7))
def test_a_conversation_survives_any_chunking(size: int) -> None:
    stream = hello() + b"\x02" + b"\x03\0\0\0" + struct.pack(">I", 2) + b"hi" + update(raw(1, 0, 2, 2, RED))
    pipe = ScriptedPipe(*(stream[i : i + size] for i in range(0, len(stream), size)))

    async def scene() -> Picture:
        async with await rfb.Client.connect(pipe, timeout_s=5) as client:
            assert client.name == "guest"
            return await client.refresh()

    picture = asyncio.run(scene())
    assert (picture.width, picture.height) == (4, 2)
    assert picture.row(0) == b"\0\0\0\0\0\0\xff\0\0\0\xff\0\0\0\0\0"
    assert pipe.closed
    assert pipe.sent.startswith(b"RFB 003.008\n\x01\x01")


def test_a_resize_makes_a_new_screen() -> None:
    pipe = ScriptedPipe(hello() + update(struct.pack(">HHHHi", 0, 0, 8, 8, -223)) + update(raw(0, 0, 8, 8, RED)))

    async def scene() -> tuple[Picture, Picture]:
        async with await rfb.Client.connect(pipe) as client:
            return await client.refresh(), await client.refresh()

    first, second = asyncio.run(scene())
    assert (first.width, first.is_blank()) == (8, True)
    assert second.pixels == b"\0\0\xff\0" * 64


@pytest.mark.parametrize(
    ("stream", "kind", "words"),
    [
        (b"HTTP/1.1 400 Bad Request", ProtocolError, "not a VNC server"),
        (b"RFB 003.008\n\x00" + struct.pack(">I", 4) + b"full", Unavailable, "full"),
        (b"RFB 003.008\n\x01\x02", ProtocolError, "password"),
        (b"RFB 003.008\n\x01\x01\0\0\0\0" + struct.pack(">HH16xI", 1, 1, 1 << 30), ProtocolError, "limit"),
        (hello(0, 0), ProtocolError, "out of range"),
        (b"RFB", Unavailable, "ended the connection"),
    ],
)
def test_a_bad_server_is_one_clear_error_and_the_pipe_is_closed(
    stream: bytes, kind: type[Exception], words: str
) -> None:
    pipe = ScriptedPipe(stream)
    with pytest.raises(kind, match=words):
        asyncio.run(rfb.Client.connect(pipe))
    assert pipe.closed


@pytest.mark.parametrize(
    "bad",
    [update(raw(3, 0, 2, 2, RED)), update(struct.pack(">HHHHi", 0, 0, 1, 1, 7)), b"\xfa"],
    ids=["outside", "unknown encoding", "unknown message"],
)
def test_a_bad_picture_is_refused(bad: bytes) -> None:
    async def scene() -> None:
        async with await rfb.Client.connect(ScriptedPipe(hello() + bad)) as client:
            await client.refresh()

    with pytest.raises(ProtocolError):
        asyncio.run(scene())
