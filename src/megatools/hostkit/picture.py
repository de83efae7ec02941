"""Pictures of a guest's screen: drawing them from rectangles, comparing them, writing them as PNG.

Pure; `rfb` draws, tests and the demo compare. Pixels are 4 bytes each: blue, green, red, unused.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from megatools.hostkit.errors import ProtocolError

PIXEL_BYTES = 4
_MAX_SIDE_PX = 16384


@dataclass(frozen=True)
class Region:
    """A rectangle in pixels; right and bottom are just outside it."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Picture:
    """A screen as it was at one moment; `pixels` is 4 bytes a pixel: blue, green, red, unused."""

    width: int
    height: int
    pixels: bytes = field(repr=False)

    def rgb(self) -> bytes:
        """The pixels as 3 bytes each, red first (the body of a PPM file)."""
        out = bytearray(self.width * self.height * 3)
        out[0::3], out[1::3], out[2::3] = self.pixels[2::4], self.pixels[1::4], self.pixels[0::4]
        return bytes(out)

    def row(self, y: int) -> bytes:
        """One line of pixels; the unused byte of each is zero."""
        stride = self.width * PIXEL_BYTES
        return self.pixels[y * stride : (y + 1) * stride]

    def is_blank(self) -> bool:
        """Whether every pixel has the same colour."""
        return self.pixels == self.pixels[:PIXEL_BYTES] * (self.width * self.height)

    def png(self) -> bytes:
        """The picture as a PNG file."""
        rgb, stride = self.rgb(), self.width * 3
        lines = b"".join(b"\0" + rgb[y * stride : (y + 1) * stride] for y in range(self.height))
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        chunks = (b"IHDR" + header, b"IDAT" + zlib.compress(lines), b"IEND")
        framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
        return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def changed_region(before: Picture, after: Picture) -> Region | None:
    """The smallest rectangle holding every pixel that differs; None when none does; all when the size changed."""
    if (before.width, before.height) != (after.width, after.height):
        return Region(0, 0, after.width, after.height)
    rows = [y for y in range(after.height) if before.row(y) != after.row(y)]
    if not rows:
        return None
    left, right = after.width, 0
    for y in rows:
        old, new = memoryview(before.row(y)).cast("I"), memoryview(after.row(y)).cast("I")
        columns = [x for x in range(after.width) if old[x] != new[x]]
        left, right = min(left, columns[0]), max(right, columns[-1] + 1)
    return Region(left, rows[0], right, rows[-1] + 1)


class Canvas:
    """The screen being drawn: rectangles go in, pictures come out."""

    def __init__(self, width: int, height: int) -> None:
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """Take a new size in pixels; the screen becomes black."""
        if not (0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX):
            raise ProtocolError(f"screen size {width}x{height} is out of range 1..{_MAX_SIDE_PX}")
        self.width, self.height = width, height
        self._pixels = bytearray(width * height * PIXEL_BYTES)

    def check(self, x: int, y: int, width: int, height: int) -> None:
        """Raises ProtocolError when a rectangle leaves the screen."""
        if x + width > self.width or y + height > self.height:
            raise ProtocolError(f"rectangle {width}x{height}+{x}+{y} leaves the screen {self.width}x{self.height}")

    def draw(self, x: int, y: int, width: int, height: int, pixels: bytes) -> None:
        """Put raw pixels in a rectangle."""
        self.check(x, y, width, height)
        source, stride = memoryview(pixels), width * PIXEL_BYTES
        for line in range(height):
            start = ((y + line) * self.width + x) * PIXEL_BYTES
            self._pixels[start : start + stride] = source[line * stride : (line + 1) * stride]

    def copy(self, x: int, y: int, width: int, height: int, from_x: int, from_y: int) -> None:
        """Copy a rectangle within the screen; the two may overlap."""
        self.check(from_x, from_y, width, height)
        stride, parts = width * PIXEL_BYTES, list[bytes]()
        for line in range(height):
            start = ((from_y + line) * self.width + from_x) * PIXEL_BYTES
            parts.append(bytes(self._pixels[start : start + stride]))
        self.draw(x, y, width, height, b"".join(parts))

    def picture(self) -> Picture:
        """The screen as it is now, the unused byte of every pixel zeroed."""
        pixels = bytearray(self._pixels)
        pixels[3::4] = bytes(self.width * self.height)
        return Picture(self.width, self.height, bytes(pixels))
