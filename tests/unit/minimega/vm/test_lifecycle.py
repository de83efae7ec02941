"""The table of states and wishes."""

import pytest

from megatools.minimega.vm.lifecycle import Step, Verdict, VmState, Wish, decide

NAMED = {
    VmState.BUILDING: {"start": "run", "stop": "refuse", "kill": "run", "flush": "refuse"},
    VmState.RUNNING: {"start": "refuse", "stop": "run", "kill": "run", "flush": "refuse"},
    VmState.PAUSED: {"start": "run", "stop": "refuse", "kill": "run", "flush": "refuse"},
    VmState.QUIT: {"start": "relaunch", "stop": "refuse", "kill": "refuse", "flush": "run"},
    VmState.ERROR: {"start": "relaunch", "stop": "refuse", "kill": "refuse", "flush": "run"},
}


@pytest.mark.parametrize("state", VmState)
@pytest.mark.parametrize("wish", Wish)
def test_a_named_vm(state: VmState, wish: Wish) -> None:
    assert decide(state, Step.SETTLED, wish, wild=False) == NAMED[state][wish]


@pytest.mark.parametrize("state", VmState)
@pytest.mark.parametrize("wish", Wish)
def test_all_passes_over_what_a_name_would_refuse(state: VmState, wish: Wish) -> None:
    expected = Verdict.RUN if NAMED[state][wish] == "run" else Verdict.SKIP
    assert decide(state, Step.SETTLED, wish, wild=True) is expected


@pytest.mark.parametrize("step", [Step.LAUNCHING, Step.RELAUNCHING, Step.ENDING])
@pytest.mark.parametrize("wild", [True, False])
def test_everything_waits_for_a_step_to_end(step: Step, wild: bool) -> None:
    for state in VmState:
        for wish in Wish:
            assert decide(state, step, wish, wild=wild) is Verdict.WAIT
