"""The launches of one namespace that this host drives or drove: how far they are, and what their placement was.

Kept by `schedule` while the daemon lives; shown by `ns schedule status`, `dump` and `why`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from megatools.hostkit.errors import InvalidState, NotFound
from megatools.hostkit.ranges import expand
from megatools.minimega.cluster.demands import Problem, natural
from megatools.minimega.cluster.placement import Explanation, Placement, explain, verify

_SHOWN = 100  # runs that `ns schedule status` tells of
_EXPLAINED = 200_000  # VMs whose placement is remembered
_RFC822 = "%d %b %y %H:%M %Z"


class RunRow(msgspec.Struct, frozen=True):
    """A line of `ns schedule status`: times as in RFC 822, `hosts` is how many got VMs."""

    start: str
    end: str
    state: str
    launched: int
    failures: int
    total: int
    hosts: int


@dataclass
class Run:
    """One launch over hosts; times are seconds since the epoch, `ended` 0 while it runs, `images` absolute paths."""

    started: float
    total: int
    hosts: int
    ended: float = 0.0
    launched: int = 0
    failures: int = 0
    images: frozenset[str] = frozenset()

    def row(self) -> RunRow:
        """For `ns schedule status`."""
        end = _text(self.ended) if self.ended else ""
        state = "completed" if self.ended else "running"
        return RunRow(_text(self.started), end, state, self.launched, self.failures, self.total, self.hosts)


def _text(at: float) -> str:
    return time.strftime(_RFC822, time.localtime(at))


@dataclass(frozen=True)
class Draft:
    """A placement of the queue that was not carried out yet (`ns schedule dry-run`)."""

    problem: Problem
    placement: Placement

    def concerns(self, names: frozenset[str]) -> bool:
        """Whether it is about these VMs and no others."""
        return names == frozenset(self.placement.hosts)

    def moved(self, vms: str, host: str) -> Draft:
        """The draft with some VMs on another host. Raises what the rules of placement say against it."""
        names = expand(vms)
        missing = [name for name in names if name not in self.placement.hosts]
        if missing or not names:
            raise NotFound("\n".join(f"reassign {name}: vm not found" for name in missing) or "no vm named")
        hosts = {**self.placement.hosts, **dict.fromkeys(names, host)}
        if host in self.problem.away:
            raise InvalidState(f'host "{host}" is away')
        verify(self.problem, hosts)
        return Draft(self.problem, Placement(hosts, self.placement.packed, self.placement.moved | set(names)))

    def rows(self) -> tuple[tuple[str, str], ...]:
        """VMs and hosts, for `ns schedule dump`."""
        return tuple(sorted(self.placement.hosts.items(), key=lambda item: natural(item[0])))


@dataclass
class Desk:
    """What this host knows of the launches of one namespace."""

    now: Callable[[], float] = time.time
    draft: Draft | None = None
    scheduling: bool = False
    runs: deque[Run] = field(default_factory=lambda: deque[Run](maxlen=_SHOWN))
    _placed: deque[Draft] = field(default_factory=deque[Draft])

    def begin(self, problem: Problem, placement: Placement, images: Iterable[str] = ()) -> Run:
        """A launch begins."""
        run = Run(self.now(), len(placement.hosts), len(set(placement.hosts.values())), images=frozenset(images))
        self.runs.append(run)
        self._placed.appendleft(Draft(problem, placement))
        while len(self._placed) > 1 and sum(len(done.placement.hosts) for done in self._placed) > _EXPLAINED:
            self._placed.pop()
        return run

    @property
    def awaited(self) -> set[str]:
        """The images of the launches that run."""
        return {image for run in self.runs if not run.ended for image in run.images}

    @property
    def busy(self) -> bool:
        """Whether a launch runs, or the queue is being looked at."""
        return self.scheduling or any(not run.ended for run in self.runs)

    def the_draft(self) -> Draft:
        """The placement to be shown or edited. Raises InvalidState."""
        if self.draft is None:
            raise InvalidState("must run dry-run first", hint="ns schedule dry-run")
        return self.draft

    def why(self, vm: str) -> Explanation:
        """Why a VM is, or is to be, where it is: the draft, else the latest launch it was part of. Raises NotFound."""
        for made in (*(() if self.draft is None else (self.draft,)), *self._placed):
            if vm in made.placement.hosts:
                return explain(made.problem, made.placement, vm)
        raise NotFound(
            f"vm not found: {vm}",
            hint="only launches this host drove since it started are remembered; ns schedule dry-run",
        )


def assigned(placement: Mapping[str, str]) -> dict[str, list[str]]:
    """The VMs of each host, both in order."""
    hosts: dict[str, list[str]] = {}
    for vm, host in placement.items():
        hosts.setdefault(host, []).append(vm)
    return {host: hosts[host] for host in sorted(hosts, key=natural)}
