"""Records to rows and back; used inside `store` only."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from megatools.hostkit.errors import Corrupt
from megatools.igor.model import nodes
from megatools.igor.model.image import ContentHash
from megatools.igor.model.nodes import NodeSet
from megatools.igor.model.reservation import Details, Kind, Reservation, ReservationId, State, Task, TaskKind
from megatools.igor.plan.calendar import Booking

RESERVATION_COLUMNS = "id, name, owner, grp, nodes, start_s, end_s, state, kind, waiting, kernel, initrd, vlan, details"
ReservationRow: TypeAlias = tuple[int, str, str, str, str, int, int, str, str, int, str, str, int, bytes]
TaskRow: TypeAlias = tuple[int, int, int, int, bytes]

_STATES = {state.value: state for state in State}
_KINDS = {kind.value: kind for kind in Kind}
_details = msgspec.json.Decoder(Details)
_encode = msgspec.json.encode
_NO_DETAILS = Details()


def reservation_of(row: ReservationRow) -> Reservation:
    """A row as a record; raises Corrupt."""
    key, name, owner, group, spans, start_s, end_s, state, kind, waiting, kernel, initrd, vlan, details = row
    try:
        return Reservation(
            ReservationId(key),
            name,
            owner,
            group,
            nodes.from_text(spans),
            start_s,
            end_s,
            _STATES[state],
            _KINDS[kind],
            bool(waiting),
            ContentHash(kernel),
            ContentHash(initrd),
            vlan,
            _details.decode(details) if details != b"{}" else _NO_DETAILS,
        )
    except (ValueError, KeyError, msgspec.MsgspecError) as error:
        raise Corrupt(f'reservation "{name}" in the store is unreadable') from error


def columns_of(reservation: Reservation) -> tuple[str, str, str, str, int, int, str, str, int, str, str, int, bytes]:
    """A record as the values of all columns but the id."""
    return (
        reservation.name,
        reservation.owner,
        reservation.group,
        reservation.nodes.text(),
        reservation.start_s,
        reservation.end_s,
        reservation.state.value,
        reservation.kind.value,
        int(reservation.waiting),
        reservation.kernel,
        reservation.initrd,
        reservation.vlan,
        _encode(reservation.details),
    )


class _TaskBody(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: TaskKind
    name: str
    person: str
    nodes: str = ""
    text: str = ""
    vlan: int = 0


def task_body(kind: TaskKind, name: str, person: str, chosen: NodeSet, text: str, vlan: int) -> bytes:
    """What the task table keeps of a task without searching by it."""
    return _encode(_TaskBody(kind, name, person, chosen.text(), text, vlan))


def task_of(row: TaskRow) -> Task:
    """A row (id, reservation, due_s, tries, body) as a record; raises Corrupt."""
    key, reservation, due_s, tries, body = row
    try:
        kept = msgspec.json.decode(body, type=_TaskBody)
    except msgspec.MsgspecError as error:
        raise Corrupt(f'task "{key}" in the store is unreadable') from error
    return Task(
        key,
        kept.kind,
        ReservationId(reservation),
        kept.name,
        kept.person,
        nodes.from_text(kept.nodes),
        due_s,
        kept.text,
        kept.vlan,
        tries,
    )


def booking_of(row: tuple[int, str, str, int, int, str, int, str]) -> Booking:
    """A row (id, name, nodes, start_s, end_s, kind, waiting, state) as what it takes from the calendar."""
    key, name, spans, start_s, end_s, kind, waiting, state = row
    bits = 0
    for part in spans.split(","):
        first, dash, last = part.partition("-")
        if dash:
            bits |= ((1 << (int(last) - int(first) + 1)) - 1) << int(first)
        else:
            bits |= 1 << int(first)
    active = state == "active"  # it holds its nodes now, whatever the clock says
    return Booking(key, name, 0 if active else start_s, end_s, bits, kind == "best-effort", bool(waiting), active)
