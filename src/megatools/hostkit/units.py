"""Durations, sizes and rates as people write them; anyone may call it.

Durations follow Go's notation (`1h2m3.5s`, `150ms`), which the commands and files of minimega use.
"""

from __future__ import annotations

import re
from decimal import Decimal

from megatools.hostkit.errors import InvalidInput

_SECONDS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGTP])(?:i?B)?|B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_NANOSECONDS_PER_S = 1_000_000_000


def parse_duration_s(text: str) -> float:
    """Seconds of a duration such as `300ms`, `-1.5h` or `2h45m`; raises InvalidInput."""
    body = text[1:] if text[:1] in ("+", "-") else text
    sign = -1 if text.startswith("-") else 1
    if body == "0":
        return 0.0
    total, at = Decimal(0), 0
    while at < len(body):
        part = _PART.match(body, at)
        if part is None:
            break
        total += Decimal(part[1]) * _SECONDS[part[2]]
        at = part.end()
    if not body or at < len(body):
        raise InvalidInput(f'invalid duration: "{text}"', hint="write it as 1h30m, 10s or 250ms")
    return float(sign * total)


def format_duration(seconds: float) -> str:
    """A duration in Go's notation, to the nanosecond: `1m3.2s`, `1.5ms`, `0s`."""
    nanoseconds = round(seconds * _NANOSECONDS_PER_S)
    sign = "-" if nanoseconds < 0 else ""
    nanoseconds = abs(nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < size * 1000:
            return f"{sign}{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60 * _NANOSECONDS_PER_S)
    text = f"{_decimal(rest, _NANOSECONDS_PER_S)}s"
    if minutes >= 60:
        return f"{sign}{minutes // 60}h{minutes % 60}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else f"{sign}{text}"


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    fraction = str(part).zfill(len(str(unit)) - 1).rstrip("0") if part else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def parse_bytes(text: str, *, default_unit: str = "") -> int:
    """Bytes of a size such as `512M`, `10G` or `1.5 GiB` (powers of 1024); a bare number counts `default_unit`s.

    Raises InvalidInput.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(f'invalid size: "{text}"', hint="write it as 512M or 10G")
    unit = found[2].upper() if found[2] else ("" if text.strip()[-1] in "bB" else default_unit)
    size = Decimal(found[1]) * 1024 ** _POWERS[unit]
    if size != size.to_integral_value():
        raise InvalidInput(f'invalid size: "{text}" is not a whole number of bytes')
    return int(size)


def format_bytes(size: int) -> str:
    """A size for people: `512 B`, `1.5 MiB`."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
