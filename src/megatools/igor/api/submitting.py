"""Answers to Submit: find nodes and a time, take them, start what starts now. Used by `api.engine`."""

from __future__ import annotations

import msgspec

from megatools.hostkit.errors import AlreadyExists, InvalidInput, InvalidState, NotFound
from megatools.igor.api.context import Context, Images, held_by, profile_images, staged_images
from megatools.igor.api.requests import Done, Opening, Submit
from megatools.igor.model import nodes
from megatools.igor.model.config import HOUR_S
from megatools.igor.model.names import checked_args, checked_name
from megatools.igor.model.reservation import Details, Hooks, Kind, Reservation, ReservationId, State
from megatools.igor.plan import policy
from megatools.igor.plan.calendar import Slot, Wish
from megatools.igor.plan.scheduler import at_once, conflicts, earliest, next_openings, victims
from megatools.igor.run.transitions import announce_start, make_way, spoken, start
from megatools.igor.store.change import Change

MIN_DURATION_S = 60
MAX_DURATION_S = 10 * 366 * 86400
MAX_TIMES = 366
SPECULATED = 10


def submit(context: Context, request: Submit) -> Done:
    """Reserve nodes, or (`speculate`) say when and where it could be done."""
    _check(context, request)
    if request.speculate:
        return Done(openings=speculated(context, request))
    context.check_open()
    if request.profile:
        with context.change() as change:
            return _submitted(change, context, request, profile_images(context, request.profile))
    if request.kind != Kind.MAINTENANCE.value and request.kernel < 0:
        raise InvalidInput("a reservation needs a kernel", hint="name one with -k, or a profile with -profile")
    names = (request.kernel_name, request.initrd_name)
    if _name_is_taken(context, request.name):  # found out before large files are copied, and again inside the change
        raise AlreadyExists(f'there is a reservation "{request.name}" already', hint="choose another name")
    with staged_images(context, request.kernel, request.initrd, names) as images, context.change() as change:
        images.adopt(change)
        return _submitted(change, context, request, images)


def _name_is_taken(context: Context, name: str) -> bool:
    try:
        context.store.named(name)
    except NotFound:
        return False
    return True


def _check(context: Context, request: Submit) -> None:
    checked_name(request.name)
    checked_args(request.args)
    _check_nodes(context, request)
    if request.kind not in {kind.value for kind in Kind}:
        raise InvalidInput(f'"{request.kind}" is no kind of reservation')
    if request.kind == Kind.MAINTENANCE.value:
        policy.check_admin(context.person, "reserve nodes for maintenance")
    if not MIN_DURATION_S <= duration_of(context, request) <= MAX_DURATION_S:
        raise InvalidInput(
            f"a reservation lasts 1 minute to 10 years, this one {policy.hours(duration_of(context, request))}"
        )
    if not 1 <= request.times <= MAX_TIMES or (request.times > 1 and request.every_s < duration_of(context, request)):
        raise InvalidInput(
            f"a recurring reservation repeats 2 to {MAX_TIMES} times, at least its own duration apart",
            hint="-every 7d -times 10",
        )
    if request.start_s and request.start_s < context.now_s - 60:
        raise InvalidInput(f"the start {spoken(request.start_s)} has passed")
    _check_hooks(context, request)


def _check_nodes(context: Context, request: Submit) -> None:
    if bool(request.nodes) == (request.count != 0):
        raise InvalidInput("say which nodes or how many", hint="-w kn[1-10] names nodes, -n 10 counts them")
    if request.count and not 1 <= request.count <= len(context.cluster):
        raise InvalidInput(f"{request.count} nodes were asked for, the cluster has {len(context.cluster)}")


def _check_hooks(context: Context, request: Submit) -> None:
    for hook in (request.hook_start, request.hook_end):
        if hook and not context.config.hooks:
            raise InvalidInput("hooks are switched off on this cluster")
        if hook and not hook.startswith("/"):
            raise InvalidInput(f'the hook "{hook}" must be an absolute path')


def duration_of(context: Context, request: Submit) -> int:
    """How long a reservation is asked for, in seconds."""
    return request.duration_s or int(context.config.default_hours * HOUR_S)


def wish_for(context: Context, request: Submit) -> Wish:
    """What a request asks of the calendar; raises NotFound, InvalidInput, InvalidState (blocked or closed nodes)."""
    named = context.cluster.parse(request.nodes) if request.nodes else nodes.NodeSet()
    allowed = context.allowed()
    if request.kind == Kind.MAINTENANCE.value:
        allowed = context.cluster.everything()
    refused = named - allowed if named else named
    if refused:
        raise InvalidState(_why_refused(context, refused))
    if request.count > len(allowed):
        raise InvalidState(f"{request.count} nodes were asked for, you may reserve {len(allowed)} of this cluster")
    return Wish(
        duration_s=duration_of(context, request),
        from_s=max(request.start_s, context.now_s),
        allowed=allowed.mask(0),
        count=request.count,
        named=named.mask(0),
        contiguous=request.contiguous,
        takes=request.kind != Kind.BEST_EFFORT.value,
    )


def _why_refused(context: Context, refused: nodes.NodeSet) -> str:
    hosts = context.store.hosts()
    blocked = {number: hosts[number].blocked for number in refused if number in hosts and hosts[number].blocked}
    if blocked:
        reason = next(iter(blocked.values()))
        return f'"{context.cluster.written(nodes.of(blocked))}" cannot be reserved: {reason}'
    return f'"{context.cluster.written(refused)}" is kept for others by the policy'


def speculated(context: Context, request: Submit) -> tuple[Opening, ...]:
    """The next openings for a request, each with why it is not earlier."""
    wish = wish_for(context, request)
    found: list[Opening] = []
    for one in next_openings(context.store.bookings().values(), wish, SPECULATED):
        ended = ", ".join(f'"{name}"' for name in one.after[:4]) + (" and others" if len(one.after) > 4 else "")
        why = f"when {ended} ends" if ended else "free"
        found.append(Opening(one.slot.start_s, context.cluster.written(nodes.from_mask(one.slot.mask, 0)), why))
    return tuple(found)


def _submitted(change: Change, context: Context, request: Submit, images: Images) -> Done:
    wish = wish_for(context, request)
    duration_s, limits = wish.duration_s, policy.limits_of(context.config.limits, context.person)
    count = request.count or wish.named.bit_count()
    policy.check_size(limits, count, duration_s, wish.from_s - context.now_s)
    if limits.reservations or limits.total_nodes or limits.node_hours:
        owned = context.store.owned(context.person.name)
        policy.check_total(limits, owned, [(count, duration_s)] * request.times, context.now_s)
    made: list[Reservation] = []
    for number in range(request.times):
        turn = msgspec.structs.replace(wish, from_s=wish.from_s + number * request.every_s)
        name = request.name if number == 0 else checked_name(f"{request.name}-{number + 1}")
        made.append(_one(change, context, request, images, turn, name))
    waits = [f'"{one.name}" waits: it starts at {spoken(one.start_s)}, or earlier' for one in made if one.waiting]
    return Done(reservations=tuple(made), messages=tuple(waits))


def _one(change: Change, context: Context, request: Submit, images: Images, wish: Wish, name: str) -> Reservation:
    slot = _slot(context, request, wish)
    waiting = request.wait and slot.start_s > wish.from_s
    kind = Kind(request.kind)
    planned = Reservation(
        id=ReservationId(0),
        name=name,
        owner=context.person.name,
        group=context.group(request.group),
        nodes=nodes.from_mask(slot.mask, 0),
        start_s=slot.start_s,
        end_s=slot.start_s + wish.duration_s,
        state=State.PLANNED,
        kind=kind,
        waiting=waiting,
        kernel=images.kernel,
        initrd=images.initrd,
        vlan=_vlan(context, request.vlan, kind),
        details=_details(context, request, images, wish),
    )
    bookings = context.store.bookings().values()
    displaced = victims(bookings, slot.mask, slot.start_s, planned.end_s)
    added = change.add(planned)
    change.event(context.now_s, context.person.name, "reserve", added.id, added.name)
    if displaced:
        make_way(change, context.place, added, displaced)
    if added.start_s <= context.now_s:
        return start(change, context.place, added)
    announce_start(change, context.place, added)
    return added


def _details(context: Context, request: Submit, images: Images, wish: Wish) -> Details:
    return Details(
        args=checked_args(f"{images.args} {request.args}".strip()),
        profile=request.profile,
        reboot=request.reboot,
        contiguous=request.contiguous,
        series=request.name if request.times > 1 else "",
        note=request.note,
        mail=request.mail,
        hooks=Hooks(request.hook_start, request.hook_end),
        created_s=context.now_s,
        owner_uid=context.person.uid,
        not_before_s=wish.from_s if request.wait else 0,
        wanted=request.count,
    )


def _slot(context: Context, request: Submit, wish: Wish) -> Slot:
    bookings = context.store.bookings().values()
    slot = at_once(bookings, wish)
    if slot is not None:
        return slot
    opening = earliest(bookings, wish)
    if opening is not None and request.wait:
        return opening
    hint = f"-wait or -a would start it at {spoken(opening.start_s)}" if opening else "there is no opening at all"
    end_s = wish.from_s + wish.duration_s
    if wish.named:
        holders = conflicts(bookings, wish.named, wish.from_s, end_s, takes=wish.takes)
        raise InvalidState(held_by(context, holders, wish.named), hint=hint)
    together = "adjacent " if wish.contiguous else ""
    raise InvalidState(
        f"there are not {wish.count} {together}nodes free for {policy.hours(wish.duration_s)} "
        f"from {spoken(wish.from_s)} on",
        hint=hint,
    )


def _vlan(context: Context, wanted: str, kind: Kind) -> int:
    """The VLAN of a new reservation: one asked for, another reservation's, or a free one; 0 without isolation."""
    segment = context.config.segment
    if wanted and not wanted.isdigit():
        return context.writable(wanted).vlan
    used = {one.vlan: one for one in context.store.live() if one.vlan} if wanted or segment.driver != "none" else {}
    if wanted:
        number = int(wanted)
        if not segment.vlan_first <= number <= segment.vlan_last:
            raise InvalidInput(f"VLAN {number} is outside {segment.vlan_first}-{segment.vlan_last}")
        if number in used:
            context.writable(used[number].name)
        return number
    if segment.driver == "none" or kind is Kind.MAINTENANCE:
        return 0
    for number in range(segment.vlan_first, segment.vlan_last + 1):
        if number not in used:
            return number
    raise InvalidState(f"no VLAN of {segment.vlan_first}-{segment.vlan_last} is free")
