"""What `igor show` prints: racks, then the table of the document, or JSON; pure.

The table is the document's era's: NAME, OWNER, TIME LEFT (hours), NODES; 80 dashes; the nodes that are down; the
reservations. `long` adds when, what kind, and who else may change it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from megatools.igor.api.requests import Overview
from megatools.igor.cli.racks import RESET, diagram
from megatools.igor.model.host import Host
from megatools.igor.model.nodes import from_text, of
from megatools.igor.model.reservation import Kind, Reservation, State
from megatools.igor.run.transitions import spoken

HEADER = ("NAME", "OWNER", "TIME LEFT", "NODES")
LONG_HEADER = ("NAME", "OWNER", "GROUP", "TIME LEFT", "START", "END", "KIND", "SIZE", "NODES")
_MINE, _DOWN, _BLOCKED = "\x1b[30;42m", "\x1b[37;41m", "\x1b[37;100m"
_OTHERS = tuple(f"\x1b[30;{code}m" for code in ("43", "44", "45", "46", "47", "103", "104", "105", "106", "102", "107"))


def text_of(overview: Overview, *, colours: bool, long: bool = False, racks: bool = True) -> str:
    """The whole page."""
    paint = _paint(overview) if colours else {}
    parts = [f"igor is paused: {overview.pause}\n"] if overview.pause else []
    if racks:
        parts.append(diagram(overview.cluster, paint))
    parts.append(_table(overview, long=long))
    if colours and racks:
        legend = (
            f"{_MINE} mine {RESET}  {_OTHERS[0]} reserved {RESET}  {_DOWN} down {RESET}  {_BLOCKED} blocked {RESET}"
        )
        parts.append(f"\n{legend}")
    return "\n".join(parts)


def mine(reservation: Reservation, overview: Overview) -> bool:
    """Whether the asker owns or shares a reservation."""
    return reservation.owner == overview.asker or bool(reservation.group and reservation.group in overview.groups)


def _paint(overview: Overview) -> dict[int, str]:
    """A terminal sequence for every node that is not just free; what is down is shown as down whoever has it."""
    painted: dict[int, str] = {}
    turn = 0
    for one in overview.reservations:
        if one.state is not State.ACTIVE:
            continue
        if mine(one, overview):
            colour = _MINE
        else:
            colour = _OTHERS[turn % len(_OTHERS)]
            turn += 1
        painted.update(dict.fromkeys(one.nodes, colour))
    painted.update((host.number, _BLOCKED) for host in overview.blocked)
    painted.update(dict.fromkeys(from_text(overview.down), _DOWN))
    return painted


def time_left(reservation: Reservation, now_s: int) -> str:
    """Hours until the end with one decimal, negative and fair game when it is over; when it starts, if it has not."""
    if reservation.state is State.ENDED:
        return "ended"
    if reservation.state is State.PLANNED:
        starts = f"{'waits, ' if reservation.waiting else ''}starts in {(reservation.start_s - now_s) / 3600:.1f}"
        return starts
    left = f"{(reservation.end_s - now_s) / 3600:.1f}"
    return f"{left} (fair game)" if reservation.expired(now_s) else left


def _table(overview: Overview, *, long: bool) -> str:
    cluster = overview.cluster
    rows: list[tuple[str, ...]] = [LONG_HEADER if long else HEADER]
    rows.append(_special("DOWN", cluster.written(from_text(overview.down)), long=long))
    rows.extend(
        _special("BLOCKED", f"{cluster.written(from_text(spans))} ({reason})", long=long)
        for reason, spans in _blocked(overview.blocked)
    )
    for one in overview.reservations:
        left, written = time_left(one, overview.now_s), cluster.written(one.nodes)
        if not long:
            rows.append((one.name, one.owner, left, written))
            continue
        kind = one.kind.value if one.kind is not Kind.NORMAL else ("queued" if one.waiting else one.state.value)
        start, end, size = spoken(one.start_s), spoken(one.end_s), str(len(one.nodes))
        rows.append((one.name, one.owner, one.group or "-", left, start, end, kind, size, written))
    lines = aligned(rows)
    return "\n".join([lines[0], "-" * 80, *lines[1:]])


def _special(name: str, written: str, *, long: bool) -> tuple[str, ...]:
    columns = len(LONG_HEADER if long else HEADER)
    return (name, *["N/A"] * (columns - 2), written)


def _blocked(hosts: Sequence[Host]) -> list[tuple[str, str]]:
    reasons: dict[str, list[int]] = {}
    for host in hosts:
        reasons.setdefault(host.blocked, []).append(host.number)
    return [(reason, of(numbers).text()) for reason, numbers in reasons.items()]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with columns two spaces apart; nothing is written after the last cell."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    form = "  ".join(f"%-{width}s" if width else "%s" for width in widths)
    return [(form % tuple(row)).rstrip() for row in rows]


SORTS: dict[str, Callable[[Reservation], tuple[object, ...]]] = {
    "name": lambda one: (one.name,),
    "owner": lambda one: (one.owner, one.name),
    "start": lambda one: (one.start_s, one.id),
    "end": lambda one: (one.end_s, one.id),
    "size": lambda one: (-len(one.nodes), one.id),
}
"""What `igor show -sort` takes."""
