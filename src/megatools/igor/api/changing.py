"""Answers to Delete, Extend, Edit and ChangeNodes. Used by `api.engine`."""

from __future__ import annotations

import msgspec

from megatools.hostkit.errors import InvalidInput, InvalidState, PermissionDenied
from megatools.igor.api.context import Context, Images, held_by, profile_images, staged_images
from megatools.igor.api.requests import ChangeNodes, Delete, Done, Edit, Extend
from megatools.igor.api.submitting import MAX_DURATION_S
from megatools.igor.model import nodes
from megatools.igor.model.names import checked_args, checked_name
from megatools.igor.model.nodes import NodeSet
from megatools.igor.model.reservation import Kind, Reservation, State, TaskKind
from megatools.igor.plan import policy
from megatools.igor.plan.calendar import chosen, taken
from megatools.igor.plan.scheduler import conflicts, free_until, victims
from megatools.igor.run.transitions import announce_end, catch_up, end, install, make_way, spoken
from megatools.igor.store.change import Change


def delete(context: Context, request: Delete) -> Done:
    """End a reservation, or a whole series; an expired one is fair game for anybody."""
    with context.change() as change:
        first = context.store.named(request.name)
        series = first.details.series
        doomed = [first]
        if request.series and series:
            doomed = [one for one in context.store.live() if one.details.series == series]
        for one in doomed:
            good_faith = context.config.goodfaith or one.expired(context.now_s)
            policy.check_write(one, context.person, good_faith=good_faith)
            end(change, context.place, one, context.person.name)
        catch_up(change, context.place)
        return Done(reservations=tuple(msgspec.structs.replace(one, state=State.ENDED) for one in doomed))


def extend(context: Context, request: Extend) -> Done:
    """Move a reservation's end to later."""
    with context.change() as change:
        old = context.writable(request.name)
        base_s = max(old.end_s, context.now_s) if old.expired(context.now_s) else old.end_s
        limits = policy.limits_of(context.config.limits, context.person)
        policy.check_extension(limits, old, context.now_s)
        until_s = _longest(context, old, base_s) if request.most else base_s + request.by_s
        if until_s <= old.end_s:
            raise InvalidState(f'"{old.name}" cannot last longer than until {spoken(old.end_s)}')
        new = msgspec.structs.replace(old, end_s=until_s)
        if new.duration_s > MAX_DURATION_S:
            raise InvalidInput("a reservation lasts at most 10 years")
        policy.check_size(limits, len(new.nodes), new.duration_s, 0)
        if limits.node_hours:
            others = [one for one in context.store.owned(old.owner) if one.id != old.id]
            ahead_s = new.end_s - max(new.start_s, context.now_s)
            policy.check_total(limits, others, [(len(new.nodes), ahead_s)], context.now_s)
        _take(change, context, new, new.nodes, base_s)
        change.put(new)
        announce_end(change, context.place, new)
        change.event(context.now_s, context.person.name, "extend", new.id, spoken(new.end_s))
        return Done(reservations=(new,))


def _longest(context: Context, old: Reservation, base_s: int) -> int:
    """Until when a reservation may last at most, by the calendar and the limits."""
    mask = old.nodes.mask(0)
    bookings = context.store.bookings().values()
    until_s = free_until(bookings, mask, base_s, {old.id}) or old.start_s + MAX_DURATION_S
    longest_s = policy.longest_s(policy.limits_of(context.config.limits, context.person), len(old.nodes))
    return min(until_s, old.start_s + longest_s) if longest_s else until_s


def _take(change: Change, context: Context, taker: Reservation, wanted: NodeSet, from_s: int) -> None:
    """Make sure nodes are the taker's from a time to its end; raises InvalidState naming who holds them."""
    bookings = context.store.bookings().values()
    mask, takes = wanted.mask(0), taker.kind is not Kind.BEST_EFFORT
    holders = conflicts(bookings, mask, from_s, taker.end_s, takes=takes, but={taker.id})
    if holders:
        raise InvalidState(held_by(context, holders, mask))
    if takes:
        later = msgspec.structs.replace(taker, start_s=max(from_s, taker.start_s))
        make_way(change, context.place, later, victims(bookings, mask, from_s, taker.end_s, {taker.id}))


def change_nodes(context: Context, request: ChangeNodes) -> Done:
    """Add nodes to a reservation, or drop some of it."""
    with context.change() as change:
        old = context.writable(request.name)
        dropped = context.cluster.parse(request.drop) if request.drop else NodeSet()
        if dropped - old.nodes:
            raise InvalidInput(f'"{context.cluster.written(dropped - old.nodes)}" is not part of "{old.name}"')
        added = _to_add(context, request, old)
        kept = tuple(0 if number in dropped else number for number in old.order)
        nodes_after = (old.nodes | added) - dropped
        wanted = len(nodes_after) if old.details.wanted else 0
        details = msgspec.structs.replace(old.details, order=(*kept, *added), wanted=wanted)
        new = msgspec.structs.replace(old, nodes=nodes_after, details=details)
        if not new.nodes:
            raise InvalidState(f'dropping these would leave "{old.name}" without nodes', hint=f"igor del {old.name}")
        if not added and not dropped:
            raise InvalidInput("say which nodes to add or drop")
        limits = policy.limits_of(context.config.limits, context.person)
        if added:
            policy.check_size(limits, len(new.nodes), new.duration_s, 0)
            others = [one for one in context.store.owned(old.owner) if one.id != old.id]
            policy.check_total(limits, others, [(len(new.nodes), new.duration_s)], context.now_s)
            _take(change, context, new, added, max(old.start_s, context.now_s))
        change.put(new)
        if new.state is State.ACTIVE:
            install(change, context.place, new)
            _rewire(change, context, new, added, dropped)
        change.event(context.now_s, context.person.name, "nodes", new.id, context.cluster.written(new.nodes))
        catch_up(change, context.place)
        return Done(reservations=(new,))


def _rewire(change: Change, context: Context, new: Reservation, added: NodeSet, dropped: NodeSet) -> None:
    reboot = new.details.reboot or context.config.power.reboot
    if new.vlan and added:
        change.add_task(TaskKind.SEGMENT_JOIN, new, due_s=context.now_s, nodes=added)
    if new.vlan and dropped:
        change.add_task(TaskKind.SEGMENT_LEAVE, new, due_s=context.now_s, nodes=dropped)
    if added and reboot:
        change.add_task(TaskKind.POWER_CYCLE, new, due_s=context.now_s, nodes=added)


def _to_add(context: Context, request: ChangeNodes, old: Reservation) -> NodeSet:
    allowed = context.allowed()
    if request.add:
        added = context.cluster.parse(request.add) - old.nodes
        if added - allowed:
            raise InvalidState(f'"{context.cluster.written(added - allowed)}" cannot be reserved')
        return added
    if not request.add_count:
        return NodeSet()
    bookings = context.store.bookings().values()
    from_s = max(old.start_s, context.now_s)
    ways = [one for one in bookings if not (one.yields and old.kind is not Kind.BEST_EFFORT)]
    free = allowed.mask(0) & ~taken(ways, from_s, old.end_s) & ~old.nodes.mask(0)
    held = taken(bookings, from_s, old.end_s)
    mask = chosen(free, held, request.add_count, contiguous=False)
    if not mask:
        raise InvalidState(
            f"{request.add_count} nodes were asked for, {free.bit_count()} are free until {spoken(old.end_s)}"
        )
    return nodes.from_mask(mask, 0)


def edit(context: Context, request: Edit) -> Done:
    """Change what a reservation boots, whose it is, or what it is called."""
    context.check_open()
    context.writable(request.name)
    if request.profile:
        with context.change() as change:
            return _edited(change, context, request, profile_images(context, request.profile))
    names = (request.kernel_name, request.initrd_name)
    with staged_images(context, request.kernel, request.initrd, names) as images, context.change() as change:
        images.adopt(change)
        return _edited(change, context, request, images)


def _edited(change: Change, context: Context, request: Edit, images: Images) -> Done:
    old = context.writable(request.name)
    if request.owner is not None and request.owner != old.owner and not context.person.admin:
        raise PermissionDenied("only administrators may give a reservation to somebody else")
    details = msgspec.structs.replace(
        old.details,
        args=old.details.args if request.args is None else checked_args(request.args),
        profile=old.details.profile if request.profile is None else request.profile,
        note=old.details.note if request.note is None else request.note,
    )
    if request.profile and request.args is None:
        details = msgspec.structs.replace(details, args=images.args)
    new = msgspec.structs.replace(
        old,
        name=old.name if request.new_name is None else checked_name(request.new_name),
        owner=request.owner or old.owner,
        group=old.group if request.group is None else context.group(request.group),
        kernel=images.kernel or old.kernel,
        initrd=images.initrd or old.initrd,
        details=details,
    )
    change.put(new)
    if new.state is State.ACTIVE:
        install(change, context.place, new)
    change.event(context.now_s, context.person.name, "edit", new.id, new.name)
    return Done(reservations=(new,))
