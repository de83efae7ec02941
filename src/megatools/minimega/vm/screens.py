"""A guest's screen as a PNG of bounded size: pure. Used by backends that can take screenshots."""

from __future__ import annotations

import re

from megatools.hostkit.errors import ProtocolError
from megatools.hostkit.picture import PIXEL_BYTES, Picture

_HEADER = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s")


def picture_of_ppm(content: bytes) -> Picture:
    """A binary PPM (P6, 8 bit) as QEMU's screendump writes it. Raises ProtocolError."""
    header = _HEADER.match(content)
    if header is None:
        raise ProtocolError("QEMU's screendump is not a PPM picture")
    width, height, rgb = int(header[1]), int(header[2]), content[header.end() :]
    if len(rgb) != width * height * 3:
        raise ProtocolError(f"QEMU's screendump of {width}x{height} holds {len(rgb)} bytes")
    pixels = bytearray(width * height * PIXEL_BYTES)
    pixels[0::4], pixels[1::4], pixels[2::4] = rgb[2::3], rgb[1::3], rgb[0::3]
    return Picture(width, height, bytes(pixels))


def shrunk(picture: Picture, max_px: int) -> Picture:
    """The picture with no side longer than `max_px` (0: any length), by taking the nearest pixels."""
    longest = max(picture.width, picture.height)
    if max_px <= 0 or longest <= max_px:
        return picture
    width, height = max(1, picture.width * max_px // longest), max(1, picture.height * max_px // longest)
    columns = [x * picture.width // width for x in range(width)]
    lines: list[bytes] = []
    for y in range(height):
        row = memoryview(picture.row(y * picture.height // height)).cast("I")
        lines.append(b"".join(row[x].to_bytes(PIXEL_BYTES, "little") for x in columns))
    return Picture(width, height, b"".join(lines))


def png_of_ppm(content: bytes, max_px: int) -> bytes:
    """A PPM turned into a PNG of bounded size."""
    return shrunk(picture_of_ppm(content), max_px).png()
