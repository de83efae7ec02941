"""Starts and ends of reservations: rows, boot files and the work that follows, inside one change; `api` calls it.

What takes time (hooks, power, switches, messages) becomes tasks, which `run` does after the change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from megatools.hostkit.errors import NotFound
from megatools.igor.boot.layout import files_for
from megatools.igor.model import nodes
from megatools.igor.model.config import Config
from megatools.igor.model.host import Host
from megatools.igor.model.nodes import NodeSet
from megatools.igor.model.reservation import Kind, Reservation, State, TaskKind
from megatools.igor.plan.calendar import Booking, Wish
from megatools.igor.plan.scheduler import improved, victims
from megatools.igor.store.change import Change
from megatools.igor.store.store import Store

Resolve = Callable[[str], str]
"""The IPv4 address of a node's name, or an empty text."""


class Place(msgspec.Struct, frozen=True):
    """What transitions need to know of where they run; `now_s` is the time of the change."""

    store: Store
    config: Config
    resolve: Resolve
    now_s: int


def hosts_of(place: Place, chosen: NodeSet) -> list[Host]:
    """What is known of some nodes, an address included where no MAC is known; raises NotFound for one without both."""
    known, cluster = place.store.hosts(), place.config.cluster
    found: list[Host] = []
    for number in chosen:
        host = known.get(number) or Host(number, cluster.name(number))
        if not host.mac and not host.ip:
            name = f"{host.name}.{place.config.domain}" if place.config.domain else host.name
            host = msgspec.structs.replace(host, ip=place.resolve(name))
        if not host.mac and not host.ip:
            raise NotFound(
                f'node "{host.name}" has no address: its name does not resolve, and no MAC is known',
                hint="add it to DNS or /etc/hosts, or tell igor its MAC: igor nodes import",
            )
        found.append(host)
    return found


def install(change: Change, place: Place, reservation: Reservation) -> None:
    """Write the boot files of an active reservation, as it is now."""
    if not reservation.kernel:
        change.set_boot_files(reservation.id, {})
        return
    change.set_boot_files(reservation.id, files_for(reservation, hosts_of(place, reservation.nodes), place.config))


def start(change: Change, place: Place, reservation: Reservation) -> Reservation:
    """Make a planned reservation active; whoever still holds its nodes past their time is ended and told."""
    bookings = place.store.bookings().values()
    mask = reservation.nodes.mask(0)
    make_way(change, place, reservation, victims(bookings, mask, place.now_s, reservation.end_s, {reservation.id}))
    active = msgspec.structs.replace(reservation, state=State.ACTIVE, waiting=False)
    change.put(active, frees=False)
    install(change, place, active)
    details = active.details
    if active.vlan:
        change.add_task(TaskKind.SEGMENT_JOIN, active, due_s=place.now_s)
    if details.reboot or (place.config.power.reboot and active.kind is not Kind.MAINTENANCE):
        change.add_task(TaskKind.POWER_CYCLE, active, due_s=place.now_s)
    if details.hooks.start:
        change.add_task(TaskKind.HOOK_START, active, due_s=place.now_s, text=details.hooks.start)
    if reservation.start_s < place.now_s or reservation.waiting:
        tell(change, place, active, f'reservation "{active.name}" has started')
    announce_end(change, place, active)
    change.event(place.now_s, active.owner, "start", active.id, active.name)
    return active


def end(change: Change, place: Place, reservation: Reservation, person: str, why: str = "") -> None:
    """End a reservation, planned or active; its owner is told when somebody else did it."""
    if reservation.state is State.ACTIVE:
        if reservation.vlan:
            change.add_task(TaskKind.SEGMENT_LEAVE, reservation, due_s=place.now_s)
        if reservation.details.hooks.end:
            change.add_task(TaskKind.HOOK_END, reservation, due_s=place.now_s, text=reservation.details.hooks.end)
    change.end(reservation, place.now_s)
    change.event(place.now_s, person, "end", reservation.id, reservation.name)
    if person != reservation.owner:
        tell(change, place, reservation, why or f'"{person}" ended your reservation "{reservation.name}"')


def make_way(change: Change, place: Place, taker: Reservation, holders: Iterable[Booking]) -> list[Reservation]:
    """End whom a reservation displaces, or, where it starts later, let best-effort ones end when it starts."""
    moved: list[Reservation] = []
    for booking in holders:
        held = place.store.reservation(booking.id)
        expired = held.expired(max(place.now_s, taker.start_s)) and not booking.yields
        if expired and taker.start_s > place.now_s:
            continue  # it may keep its nodes until they are needed
        moved.append(held)
        why = f'"{taker.owner}" needed nodes of your reservation "{held.name}" for "{taker.name}"'
        if not booking.yields or taker.start_s <= max(place.now_s, held.start_s):
            end(change, place, held, taker.owner, f"{why}: it was ended")
        else:
            shorter = msgspec.structs.replace(held, end_s=taker.start_s)
            change.put(shorter)
            announce_end(change, place, shorter)
            tell(change, place, shorter, f"{why}: it ends at {spoken(taker.start_s)}")
    return moved


def tell(change: Change, place: Place, reservation: Reservation, text: str) -> None:
    """A message to a reservation's owner, sent after the change."""
    change.add_task(TaskKind.NOTICE, reservation, due_s=place.now_s, text=text)


def announce_end(change: Change, place: Place, reservation: Reservation) -> None:
    """Plan the messages that say that a reservation ends soon, and that it has ended."""
    if not _speaks(place.config):
        return
    change.cancel_tasks(reservation.id, TaskKind.NOTICE, place.now_s)
    name, when = reservation.name, spoken(reservation.end_s)
    for before_s in place.config.notices.before_end_s:
        due_s = reservation.end_s - before_s
        if due_s > max(place.now_s, reservation.start_s):
            text = f'reservation "{name}" ends at {when}; igor extend -r {name} -t HOURS makes it last longer'
            change.add_task(TaskKind.NOTICE, reservation, due_s=due_s, text=text)
    text = f'reservation "{name}" is over since {when}: its nodes are fair game until somebody deletes or takes them'
    change.add_task(TaskKind.NOTICE, reservation, due_s=reservation.end_s, text=text)


def _speaks(config: Config) -> bool:
    return bool(config.notices.command or config.notices.mail)


def announce_start(change: Change, place: Place, reservation: Reservation) -> None:
    """Plan the messages that say that a reservation starts soon."""
    if not _speaks(place.config):
        return
    for before_s in place.config.notices.before_start_s:
        due_s = reservation.start_s - before_s
        if due_s > place.now_s:
            text = f'reservation "{reservation.name}" starts at {spoken(reservation.start_s)}'
            change.add_task(TaskKind.NOTICE, reservation, due_s=due_s, text=text)


def catch_up(change: Change, place: Place) -> list[Reservation]:
    """Do what the time asks for: ends (where a setting frees at expiry), starts, and the queue; returns the started.

    Once for each time and state of the calendar: many changes of one batch do it together.
    """
    if change.caught_up == (place.now_s, change.freed):
        return []
    started = _caught_up(change, place)
    change.caught_up = (place.now_s, change.freed)
    return started


def _caught_up(change: Change, place: Place) -> list[Reservation]:
    if place.config.free_at_expiry:
        for reservation in place.store.active():
            if reservation.expired(place.now_s):
                end(change, place, reservation, "", f'reservation "{reservation.name}" is over; its nodes are free')
    advance_queue(change, place)
    return [one for due in place.store.starting(place.now_s) if (one := _started(change, place, due)) is not None]


def _started(change: Change, place: Place, due: Reservation) -> Reservation | None:
    if due.end_s <= place.now_s:
        end(change, place, due, "", f'reservation "{due.name}" was never started: its whole time had passed')
        return None
    try:
        return start(change, place, due)
    except NotFound as error:  # a node lost its address: say so, keep the nodes, try again at the next tick
        change.event(place.now_s, due.owner, "start failed", due.id, str(error))
        return None


def wish_of(reservation: Reservation, from_s: int, allowed: int) -> Wish:
    """What a reservation would ask for if it were asked for now."""
    details = reservation.details
    return Wish(
        duration_s=reservation.duration_s,
        from_s=from_s,
        allowed=allowed,
        count=details.wanted,
        named=0 if details.wanted else reservation.nodes.mask(0),
        contiguous=details.contiguous,
        takes=reservation.kind is not Kind.BEST_EFFORT,
    )


def advance_queue(change: Change, place: Place) -> None:
    """Let waiting reservations start earlier where room has appeared, first come first served."""
    queue = place.store.waiting()
    if not queue:
        return
    allowed = open_nodes(place.store, place.config).mask(0)
    wishes = [(one.id, wish_of(one, max(place.now_s, one.details.not_before_s), allowed)) for one in queue]
    known: dict[int, Reservation] = {one.id: one for one in queue}
    for key, slot in improved(place.store.bookings(), wishes).items():
        planned, chosen = known[key], nodes.from_mask(slot.mask, 0)
        moved = msgspec.structs.replace(
            planned,
            nodes=chosen,
            start_s=slot.start_s,
            end_s=slot.start_s + planned.duration_s,
            details=msgspec.structs.replace(planned.details, order=planned.order_on(chosen)),
        )
        change.put(moved)
        change.cancel_tasks(moved.id, TaskKind.NOTICE, place.now_s)
        announce_start(change, place, moved)


def open_nodes(store: Store, config: Config) -> NodeSet:
    """The nodes of the cluster that are not blocked."""
    blocked = store.blocked()
    return config.cluster.everything() - nodes.of(blocked) if blocked else config.cluster.everything()


def spoken(time_s: int) -> str:
    """A time as people here write it: `2026-11-23 18:30`."""
    return f"{datetime.fromtimestamp(time_s).astimezone():%Y-%m-%d %H:%M}"
