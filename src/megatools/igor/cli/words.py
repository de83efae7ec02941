"""Times and durations as users of igor write them; pure.

A bare number of `-t` means hours, as in the document; `90m`, `4d6h`, `1h30m`, `2w` also work.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from megatools.hostkit.errors import InvalidInput

_UNITS_S = {"w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?)([wdhms])")
_BARE = re.compile(r"\d+(?:\.\d+)?")
_FORMATS = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%b-%d-%H:%M", "%Y-%m-%d")
_HINT = "write 12 (hours), 90m, 4d6h or 2w"


def duration_s(text: str) -> int:
    """Seconds of a duration; raises InvalidInput."""
    spoken = text.strip().lower()
    if _BARE.fullmatch(spoken):
        seconds = float(spoken) * 3600
    else:
        parts = _PART.findall(spoken)
        if not parts or "".join(number + unit for number, unit in parts) != spoken:
            raise InvalidInput(f'"{text}" is not a duration', hint=_HINT)
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if not 1 <= seconds <= 100 * 366 * 86400:
        raise InvalidInput(f'"{text}" is not a duration igor can use', hint=_HINT)
    return round(seconds)


def moment_s(text: str, now: datetime) -> int:
    """Seconds since 1970 of a time: `2026-11-23 18:30`, `18:30` (the next one), `+3h`; `now` is aware.

    Times are local to the reader's time zone. Raises InvalidInput.
    """
    spoken = text.strip()
    if spoken.startswith("+"):
        return round((now + timedelta(seconds=duration_s(spoken[1:]))).timestamp())
    clock = re.fullmatch(r"(\d{1,2}):(\d{2})", spoken)
    local = now.astimezone()
    if clock and int(clock[1]) < 24 and int(clock[2]) < 60:
        today = local.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return round((today if today >= local else today + timedelta(days=1)).timestamp())
    for form in _FORMATS:
        try:
            return round(datetime.strptime(spoken, form).astimezone().timestamp())
        except ValueError:
            continue
    raise InvalidInput(f'"{text}" is not a time', hint="write 2026-11-23 18:30, 18:30 or +3h")
