"""The life of a VM: its states, what moves it between them, and which requests may run when. Pure.

| from           | request or happening            | to                                    |
|----------------|---------------------------------|---------------------------------------|
| (nothing)      | launch                          | BUILDING                              |
| BUILDING       | start                           | RUNNING                               |
| RUNNING        | stop                            | PAUSED                                |
| PAUSED         | start                           | RUNNING                               |
| any of these   | kill, the guest powers off      | QUIT                                  |
| any of these   | its process dies                | ERROR, with the reason in tag `error` |
| QUIT, ERROR    | start, when named               | launched again, then RUNNING          |
| QUIT, ERROR    | flush                           | (nothing)                             |

::

    BUILDING --start--> RUNNING <--start, stop--> PAUSED
        |                  |                         |
        +-------- kill, power off, death ------------+
                           |
                           v
                      QUIT, ERROR --flush--> (nothing)

LAUNCHING, RELAUNCHING and ENDING are steps of the daemon's own: a VM in the first is not listed yet, one in the
others shows its last settled state. Requests that arrive meanwhile wait.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never


class VmState(StrEnum):
    """What a user sees."""

    BUILDING = "BUILDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    QUIT = "QUIT"
    ERROR = "ERROR"


class Step(StrEnum):
    """What the daemon is doing with a VM."""

    LAUNCHING = "launching"
    RELAUNCHING = "relaunching"
    ENDING = "ending"
    SETTLED = "settled"


class Wish(StrEnum):
    """What is asked of a VM."""

    START = "start"
    STOP = "stop"
    KILL = "kill"
    FLUSH = "flush"


class Verdict(StrEnum):
    """What to do about a wish: carry it out, launch again first, carry it out later, refuse it, or pass over it."""

    RUN = "run"
    RELAUNCH = "relaunch"
    WAIT = "wait"
    REFUSE = "refuse"
    SKIP = "skip"


ALIVE = frozenset({VmState.BUILDING, VmState.RUNNING, VmState.PAUSED})


def decide(state: VmState, step: Step, wish: Wish, *, wild: bool) -> Verdict:
    """Whether a wish may run now; `wild` says that the VM was not named (target `all`): unfit ones are passed over."""
    if step is not Step.SETTLED:
        return Verdict.WAIT
    unfit = Verdict.SKIP if wild else Verdict.REFUSE
    match wish:
        case Wish.START:
            return _start(state, wild=wild)
        case Wish.STOP:
            return Verdict.RUN if state is VmState.RUNNING else unfit
        case Wish.KILL:
            return Verdict.RUN if state in ALIVE else unfit
        case Wish.FLUSH:
            return unfit if state in ALIVE else Verdict.RUN
        case _:
            assert_never(wish)


def _start(state: VmState, *, wild: bool) -> Verdict:
    match state:
        case VmState.BUILDING | VmState.PAUSED:
            return Verdict.RUN
        case VmState.RUNNING:
            return Verdict.SKIP if wild else Verdict.REFUSE
        case VmState.QUIT | VmState.ERROR:
            return Verdict.SKIP if wild else Verdict.RELAUNCH
        case _:
            assert_never(state)
