"""A reservation and its life; any part of igor may use it.

::

    PLANNED --start--> ACTIVE --delete, taken over, freed at expiry--> ENDED
       |                                                                 ^
       +-------------------------- delete ------------------------------+

ACTIVE past its end is *expired*: it keeps its nodes and boot files, marked fair game, until somebody deletes it or a
later reservation needs the nodes. A waiting (queued) reservation is PLANNED with `waiting` set: its start may move
earlier, never later.
"""

from __future__ import annotations

import enum
from typing import NewType

import msgspec

from megatools.igor.model.image import ContentHash
from megatools.igor.model.nodes import NodeSet

ReservationId = NewType("ReservationId", int)


class State(enum.Enum):
    """Where in its life a reservation is; the store keeps these words."""

    PLANNED = "planned"
    ACTIVE = "active"
    ENDED = "ended"


class Kind(enum.Enum):
    """What a reservation is for."""

    NORMAL = "normal"
    BEST_EFFORT = "best-effort"  # yields its nodes to any normal reservation that needs them
    MAINTENANCE = "maintenance"  # an administrator keeps the nodes free; boots nothing


class Hooks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Programs of the owner, run as the owner when the reservation starts and ends; absolute paths, or empty."""

    start: str = ""
    end: str = ""


class Details(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the store keeps of a reservation without ever searching by it."""

    args: str = ""
    profile: str = ""
    reboot: bool = False
    contiguous: bool = False
    series: str = ""  # the name of the first of a recurring series
    note: str = ""
    mail: str = ""
    hooks: Hooks = Hooks()
    created_s: int = 0
    owner_uid: int = -1
    order: tuple[int, ...] = ()  # the node behind NAME.0, NAME.1, ... once nodes came or went (0: dropped)
    not_before_s: int = 0  # a waiting reservation's start moves no earlier than this
    wanted: int = 0  # nodes asked for by count (-n); 0 when they were named (-w): only a count may be moved to others


class Reservation(msgspec.Struct, frozen=True):
    """Nodes kept for somebody from `start_s` (included) to `end_s` (not), in seconds since 1970 UTC."""

    id: ReservationId
    name: str
    owner: str
    group: str
    nodes: NodeSet
    start_s: int
    end_s: int
    state: State
    kind: Kind = Kind.NORMAL
    waiting: bool = False
    kernel: ContentHash = ContentHash("")
    initrd: ContentHash = ContentHash("")
    vlan: int = 0
    details: Details = Details()

    @property
    def duration_s(self) -> int:
        """How long it is planned to last."""
        return self.end_s - self.start_s

    @property
    def order(self) -> tuple[int, ...]:
        """The node number behind each alias NAME.0, NAME.1, ...; 0 where the node was dropped. A node keeps its own."""
        return self.details.order or tuple(self.nodes)

    def order_on(self, nodes: NodeSet) -> tuple[int, ...]:
        """The order once it moved to these nodes: who stays keeps its alias, newcomers take those of who left."""
        newcomers = iter(nodes - self.nodes)
        seats = tuple(next(newcomers, 0) if at and at not in nodes else at for at in self.order)
        return (*seats, *newcomers)

    def expired(self, now_s: int) -> bool:
        """Whether it is fair game: it still holds its nodes though its time is over."""
        return self.state is State.ACTIVE and self.end_s <= now_s


class TaskKind(enum.Enum):
    """Work that follows from a change, done after it, at least once (`run`)."""

    HOOK_START = "hook-start"
    HOOK_END = "hook-end"
    POWER_CYCLE = "power-cycle"
    SEGMENT_JOIN = "segment-join"
    SEGMENT_LEAVE = "segment-leave"
    NOTICE = "notice"


class Task(msgspec.Struct, frozen=True):
    """One piece of such work; `nodes` and `text` are as they were when the change was made.

    `person` is the user to tell or to run as; `text` is a notice's message or a hook's path.
    """

    id: int
    kind: TaskKind
    reservation: ReservationId
    name: str
    person: str
    nodes: NodeSet
    due_s: int
    text: str = ""
    vlan: int = 0
    tries: int = 0
