"""What every answer of the engine is made from: the store, the configuration, the asker, the files, the time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import msgspec

from megatools.hostkit.errors import InvalidInput, InvalidState, NotFound, PermissionDenied
from megatools.igor.boot.kinds import Staged
from megatools.igor.model import nodes
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.config import Config
from megatools.igor.model.image import ContentHash, ImageKind
from megatools.igor.model.nodes import NodeSet
from megatools.igor.model.person import Person
from megatools.igor.model.reservation import Reservation
from megatools.igor.plan import policy
from megatools.igor.plan.calendar import Booking
from megatools.igor.run.transitions import Place, Resolve, catch_up, open_nodes, spoken
from megatools.igor.store.change import Change
from megatools.igor.store.store import Store


class Images(msgspec.Struct, frozen=True):
    """A kernel and an initrd of a request: freshly staged, or of a profile (then nothing is staged)."""

    kernel: ContentHash = ContentHash("")
    initrd: ContentHash = ContentHash("")
    args: str = ""
    staged: tuple[Staged, ...] = ()

    def adopt(self, change: Change) -> None:
        """Take what was staged into the store."""
        for one in self.staged:
            change.adopt(one.image, one.temporary)


class Context(msgspec.Struct, frozen=True):
    """One request's surroundings."""

    store: Store
    config: Config
    person: Person
    now_s: int
    files: Sequence[int]
    resolve: Resolve
    images: Images | None = None  # already copied by who asks (the service copies before it takes the store's lock)

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.config.cluster

    @property
    def place(self) -> Place:
        """What `run` needs of this."""
        return Place(self.store, self.config, self.resolve, self.now_s)

    def check_open(self) -> None:
        """Whether changes are allowed at all; raises InvalidState."""
        if self.config.pause and not self.person.admin:
            raise InvalidState(f"igor is paused: {self.config.pause}", hint="igor show still works")

    @contextmanager
    def change(self) -> Generator[Change]:
        """A change, after what was due has been done; raises InvalidState when igor is paused."""
        self.check_open()
        with self.store.change() as change:
            catch_up(change, self.place)
            yield change

    def writable(self, name: str) -> Reservation:
        """A live reservation that the asker may change; raises NotFound or PermissionDenied."""
        found = self.store.named(name)
        policy.check_write(found, self.person, good_faith=self.config.goodfaith)
        return found

    def allowed(self) -> NodeSet:
        """The nodes that the asker may reserve."""
        closed = policy.closed_to(self.config.limits, self.person, self.cluster)
        free = open_nodes(self.store, self.config)
        return free - closed if closed else free

    def group(self, name: str) -> str:
        """A group the asker may share a reservation with; raises PermissionDenied."""
        if name and name not in self.person.groups and not self.person.admin:
            raise PermissionDenied(f'you are not in the group "{name}"')
        return name


@contextmanager
def staged_images(context: Context, kernel: int, initrd: int, names: tuple[str, str]) -> Generator[Images]:
    """Copy a request's files aside for the time of the block; what was not adopted by then is removed.

    `kernel` and `initrd` are positions in the request's files, or -1. Raises as `boot.content.stage`.
    """
    if context.images is not None:
        yield context.images
        return
    from megatools.igor.boot.content import stage

    staged: list[Staged] = []
    try:
        hashes = [ContentHash(""), ContentHash("")]
        for at, (position, kind) in enumerate(((kernel, ImageKind.KERNEL), (initrd, ImageKind.INITRD))):
            if position >= 0:
                if position >= len(context.files):
                    raise InvalidInput(f"the request speaks of file {position}, {len(context.files)} came with it")
                one = stage(context.files[position], kind, names[at] or kind.value, context.config)
                staged.append(one)
                hashes[at] = one.image.hash
        yield Images(hashes[0], hashes[1], "", tuple(staged))
    finally:
        for one in staged:
            one.temporary.unlink(missing_ok=True)


def profile_images(context: Context, name: str) -> Images:
    """The images of a profile the asker may use; raises NotFound (also for another's private one)."""
    found = context.store.profiles().get(name)
    if found is None or not (found.public or found.owner == context.person.name or context.person.admin):
        raise NotFound(f'there is no profile "{name}"', hint="igor profile list shows them")
    return Images(found.kernel, found.initrd, found.args)


def held_by(context: Context, holders: Sequence[Booking], mask: int) -> str:
    """Who holds nodes, and until when, in a sentence: `kn[3-5] are held by "x" (alice) until ...; ...`."""
    sentences: list[str] = []
    for booking in holders[:3]:
        held = context.store.reservation(booking.id)
        shared = nodes.from_mask(booking.mask & mask, 0)
        verb = "is" if len(shared) == 1 else "are"
        begins = f"from {spoken(held.start_s)} " if held.start_s > context.now_s else ""
        written = context.cluster.written(shared)
        sentences.append(f'"{written}" {verb} held by "{held.name}" ({held.owner}) {begins}until {spoken(held.end_s)}')
    if len(holders) > len(sentences):
        sentences.append(f"and by {len(holders) - len(sentences)} more reservations")
    return "; ".join(sentences)
