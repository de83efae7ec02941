"""Finds the least loaded room for one group after the other without looking at all rooms each time. Pure.

Rooms stand in a heap by load. One that refuses a group is set aside, by the reason, until a group comes that asks for
less: nothing is put into it meanwhile, so what it has left is a fixed number::

    heap (load, name) --refuses: processors--> aside, most CPUs left first  --a group needs no more--> heap
                      --refuses: memory------> aside, most memory left first
                      --refuses: neighbours--> aside, until the number of VMs or their tolerance changes

A room that cannot take even the least of all that is left is dropped. Groups come sorted from large to small, so that
rooms seldom move. Used by `placement`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from megatools.minimega.cluster.demands import Group
from megatools.minimega.vm.rooms import Room


class Choice:
    """The rooms of a placement that is under way; `groups` are those that will come, in order."""

    def __init__(self, rooms: Sequence[Room], groups: Sequence[Group], load: Callable[[Room], float]) -> None:
        self._rooms = rooms
        self._load = load
        self._heap = [(load(room), room.rank) for room in rooms]
        heapq.heapify(self._heap)
        self._least = _least_left(groups)
        self._company = (0, 0)  # the tolerance and number of VMs of the present group
        self._crowded: list[Room] = []
        self._few_cpus: list[tuple[int, int]] = []  # what is left, negative, and the rank
        self._little_memory: list[tuple[int, int]] = []

    def take(self, group: Group) -> Room | None:
        """The least loaded room that fits, with the group in it; None when there is none."""
        self._bring_back(group)
        heap = self._heap
        while heap:
            room = self._rooms[heap[0][1]]
            if room.fits(group):
                room.take(group)
                heapq.heapreplace(heap, (self._load(room), room.rank))
                return room
            heapq.heappop(heap)
            if room.fits(self._least[group.needs]):
                self._set_aside(room, group)
        return None

    def _bring_back(self, group: Group) -> None:
        """Put the rooms into the heap again that may take this group."""
        if self._company != (group.limit, group.size):
            self._company = (group.limit, group.size)
            crowded, self._crowded = self._crowded, []
            for room in crowded:
                self._push(room)
        for waiting, needed in ((self._few_cpus, group.vcpus), (self._little_memory, group.memory_mib)):
            while waiting and -waiting[0][0] >= needed:
                self._push(self._rooms[heapq.heappop(waiting)[1]])

    def _set_aside(self, room: Room, group: Group) -> None:
        if room.vcpus_left < group.vcpus:
            heapq.heappush(self._few_cpus, (-room.vcpus_left, room.rank))
        elif room.memory_left_mib < group.memory_mib:
            heapq.heappush(self._little_memory, (-room.memory_left_mib, room.rank))
        else:
            self._crowded.append(room)

    def _push(self, room: Room) -> None:
        heapq.heappush(self._heap, (self._load(room), room.rank))


def _least_left(groups: Sequence[Group]) -> dict[tuple[int, ...], Group]:
    """For each need, a group that needs in everything no more than any group of that need or later ones."""
    least: dict[tuple[int, ...], Group] = {}
    after: Group | None = None
    for group in reversed(groups):
        if group.needs not in least:
            after = group if after is None else _lesser(group, after)
            least[group.needs] = after
    return least


def _lesser(one: Group, other: Group) -> Group:
    return Group(
        (),
        "",
        max(one.limit, other.limit),
        min(one.size, other.size),
        min(one.vcpus, other.vcpus),
        min(one.memory_mib, other.memory_mib),
        min(one.nics, other.nics),
    )
