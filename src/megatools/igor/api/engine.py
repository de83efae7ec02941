"""igor itself: every request, answered. Front doors make one engine per configuration and thread.

The engine believes the person it is given; who that is, the doors find out (`api.people`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from megatools.hostkit.clock import Clock, SystemClock
from megatools.hostkit.errors import InvalidInput, PermissionDenied
from megatools.igor.api.addresses import Addresses
from megatools.igor.api.context import Context, Images, staged_images
from megatools.igor.api.requests import (
    Answer,
    AnyRequest,
    Block,
    ChangeNodes,
    Check,
    Delete,
    Done,
    Edit,
    Extend,
    GetHosts,
    GetProfiles,
    Import,
    MakeToken,
    NodeResult,
    NodeResults,
    Power,
    SetHosts,
    SetProfile,
    Show,
    Stats,
    Submit,
    Tick,
)
from megatools.igor.model.config import Config
from megatools.igor.model.person import Person
from megatools.igor.plan import policy
from megatools.igor.run.transitions import Resolve, catch_up
from megatools.igor.store.store import Store


class Engine:
    """Answers requests from a store and a configuration; one per thread."""

    def __init__(
        self, config: Config, store: Store, *, clock: Clock | None = None, resolve: Resolve | None = None
    ) -> None:
        self.config = config
        self.store = store
        self._clock: Clock = clock or SystemClock()
        self._resolve: Resolve = resolve or Addresses()

    def now_s(self) -> int:
        """The time, in whole seconds since 1970."""
        return int(self._clock.now().timestamp())

    def context(self, person: Person, files: Sequence[int] = (), images: Images | None = None) -> Context:
        """The surroundings of one request of a person."""
        return Context(self.store, self.config, person, self.now_s(), files, self._resolve, images)

    def ask(
        self, person: Person, request: AnyRequest, files: Sequence[int] = (), images: Images | None = None
    ) -> Answer:
        """The answer to a request; raises the kinds of hostkit.errors, and then nothing has changed.

        `files` are open descriptors that the request refers to by position; they stay open. `images`: what `copied`
        made of them beforehand.
        """
        return _answer(self.context(person, files, images), request)

    @contextmanager
    def copied(self, person: Person, request: AnyRequest, files: Sequence[int]) -> Generator[Images | None]:
        """For the time of the block, a request's files as copies for `ask`; None when it has none.

        Touches no table: may run while another thread uses this engine. Raises as `boot.content.stage`.
        """
        if not files or not isinstance(request, Submit | Edit | SetProfile):
            yield None
            return
        names = (request.kernel_name, request.initrd_name)
        with staged_images(self.context(person, files), request.kernel, request.initrd, names) as images:
            yield images


def _answer(context: Context, request: AnyRequest) -> Answer:
    """Each family of requests has its module, loaded when one is asked: `igor show` must be quick."""
    match request:
        case Submit():
            from megatools.igor.api.submitting import submit

            return submit(context, request)
        case Delete() | Extend() | Edit() | ChangeNodes():
            return _changed(context, request)
        case Power():
            return _power(context, request)
        case Tick():
            return _tick(context)
        case Show() | GetHosts() | GetProfiles() | Stats():
            return _looked_up(context, request)
        case _:
            return _governing(context, request)


def _changed(context: Context, request: Delete | Extend | Edit | ChangeNodes) -> Answer:
    from megatools.igor.api import changing

    match request:
        case Delete():
            return changing.delete(context, request)
        case Extend():
            return changing.extend(context, request)
        case Edit():
            return changing.edit(context, request)
        case ChangeNodes():
            return changing.change_nodes(context, request)


def _looked_up(context: Context, request: Show | GetHosts | GetProfiles | Stats) -> Answer:
    from megatools.igor.api import showing

    match request:
        case Show():
            return showing.show(context, request)
        case GetHosts():
            return showing.get_hosts(context, request)
        case GetProfiles():
            return showing.get_profiles(context)
        case Stats():
            return showing.stats(context, request)


def _governing(context: Context, request: AnyRequest) -> Answer:
    from megatools.igor.api import checking, governing, importing

    match request:
        case Block():
            return governing.block(context, request)
        case SetHosts():
            return governing.set_hosts(context, request)
        case SetProfile():
            return governing.set_profile(context, request)
        case MakeToken():
            return governing.make_token(context, request)
        case Check():
            return checking.check(context, request)
        case Import():
            return importing.import_old(context, request)
        case _:
            raise InvalidInput(f'igor does not know the request "{type(request).__name__}"')


def _power(context: Context, request: Power) -> NodeResults:
    import asyncio

    from megatools.igor.api.showing import get_hosts
    from megatools.igor.power.choice import drivers_for
    from megatools.igor.power.driver import action_named
    from megatools.igor.power.fleet import carry_out

    action = action_named(request.action)
    if bool(request.name) == bool(request.nodes):
        raise InvalidInput("say whose nodes or which", hint="-r names a reservation, -w nodes")
    context.check_open()
    if request.name:
        chosen = context.writable(request.name).nodes
    else:
        chosen = context.cluster.parse(request.nodes)
        if action.value != "status" and not context.config.goodfaith:
            policy.check_admin(context.person, "switch nodes by name")
    hosts = get_hosts(context, GetHosts(context.cluster.written(chosen))).hosts
    outcomes = asyncio.run(carry_out(hosts, action, drivers_for(context.config.power), context.config.power))
    return NodeResults(tuple(NodeResult(one.node, one.ok, one.error or one.power.value) for one in outcomes))


def _tick(context: Context) -> Done:
    if not context.person.admin and not context.config.goodfaith:
        raise PermissionDenied("only administrators may run what is due", hint="a timer does: igor tick")
    with context.store.change() as change:
        started = catch_up(change, context.place)
    return Done(reservations=tuple(started), messages=(*change.unsettled, *work_off(context.store, context.config)))


def work_off(store: Store, config: Config) -> list[str]:
    """Do the work that changes left behind, if any is due; returns what failed. Not inside a change."""
    if not store.due_tasks(int(SystemClock().now().timestamp()), 1):
        return []
    from megatools.igor.run.work import do_due

    return [f"{done.task.kind.value} of {done.task.name}: {done.error}" for done in do_due(store, config) if done.error]


def open_engine(config: Config, *, clock: Clock | None = None) -> Engine:
    """The engine of a configuration, its store opened (and made when there is none).

    Raises NotFound (no TFTP root), PermissionDenied, Unavailable, Corrupt.
    """
    group = -1
    if config.state_group:
        import grp

        try:
            group = grp.getgrnam(config.state_group).gr_gid
        except KeyError as error:
            raise InvalidInput(f'there is no group "{config.state_group}", which state_group names') from error
    return Engine(config, Store(Path(config.state), config.root, group=group), clock=clock)
