"""`igor show -calendar`: a chart of who has what when, in characters; pure.

A row is a reservation, a column a slice of time from now on: `#` it runs, `=` it will, `?` it waits and may come
earlier, `.` it is over and fair game.
"""

from __future__ import annotations

from datetime import datetime

from megatools.igor.api.requests import Overview
from megatools.igor.model.reservation import Reservation, State

_DAY_S = 86400.0
_LEAST = 20


def chart(overview: Overview, *, days: float, width: int, colours: bool) -> str:
    """The chart, at most `width` columns wide where names allow it, looking `days` ahead."""
    end_s = overview.now_s + days * _DAY_S
    rows = [one for one in overview.reservations if one.start_s < end_s and one.state is not State.ENDED]
    rows.sort(key=lambda one: (one.start_s, one.id))
    labels = [(one.name, one.owner, str(len(one.nodes))) for one in rows]
    head = ("NAME", "OWNER", "SIZE")
    widths = [max(len(cells[at]) for cells in (head, *labels)) for at in range(3)]
    room = max(_LEAST, width - sum(widths) - 8)
    lines = [_label(head, widths) + _ruler(overview.now_s, days, room)]
    for one, label in zip(rows, labels, strict=True):
        bar = _bar(one, overview.now_s, days * _DAY_S / room, room)
        mine = colours and (one.owner == overview.asker)
        lines.append(_label(label, widths) + "|" + (f"\x1b[32m{bar}\x1b[0m" if mine else bar) + "|")
    lines.append("# runs  = will run  ? waits, may come earlier  . over, fair game")
    return "\n".join(lines)


def _label(cells: tuple[str, str, str], widths: list[int]) -> str:
    return f"{cells[0]:<{widths[0]}}  {cells[1]:<{widths[1]}}  {cells[2]:>{widths[2]}}  "


def _bar(one: Reservation, now_s: int, slice_s: float, room: int) -> str:
    if one.expired(now_s):
        return "." * room
    mark = "#" if one.state is State.ACTIVE else "?" if one.waiting else "="
    first = 0 if one.state is State.ACTIVE else max(0, int((one.start_s - now_s) / slice_s))
    last = min(room, max(first + 1, -int(-(one.end_s - now_s) // slice_s)))
    return " " * first + mark * (last - first) + " " * (room - last)


def _ruler(now_s: int, days: float, room: int) -> str:
    """Times under which the columns begin: a mark every ten columns, a text where one fits."""
    text = [" "] * (room + 2)
    step = 20
    for at in range(0, room - 12, step):
        moment = datetime.fromtimestamp(now_s + at * days * _DAY_S / room).astimezone()
        for offset, character in enumerate(f"'{moment:%m-%d %H:%M}"):
            text[1 + at + offset] = character
    return "".join(text).rstrip()
