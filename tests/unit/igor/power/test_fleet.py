"""Many nodes at once: order, limits, retries, and one honest outcome per node."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from megatools.hostkit.errors import CommandFailed, InvalidInput
from megatools.igor.model.config import PowerConfig
from megatools.igor.model.host import Host
from megatools.igor.power import fleet
from megatools.igor.power.driver import Action, Power, action_named

QUICK = PowerConfig(driver="command", parallel=3, retries=2, timeout_s=5)


class Rack:
    """A driver whose nodes take a while, fail a number of times first, or never get there."""

    def __init__(self, fail: dict[str, int] | None = None, slow: frozenset[str] = frozenset()) -> None:
        self.fail, self.slow = Counter(fail or {}), slow
        self.state: dict[str, Power] = {}
        self.calls: Counter[str] = Counter()
        self.at_once = self.most = 0

    async def act(self, host: Host, action: Action, *, timeout_s: float) -> Power:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0)
            self.calls[host.name] += 1
            if self.fail[host.name]:
                self.fail[host.name] -= 1
                raise CommandFailed(f'no answer from "{host.name}"')
            if action is not Action.STATUS and host.name not in self.slow:
                self.state[host.name] = Power.OFF if action is Action.OFF else Power.ON
            return self.state.get(host.name, Power.OFF)
        finally:
            self.at_once -= 1


def hosts(count: int) -> list[Host]:
    return [Host(number, f"kn{number}") for number in range(1, count + 1)]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_PAUSE_S", 0.0)
    monkeypatch.setattr(fleet, "_POLL_S", 0.0)


def carry_out(rack: Rack, action: Action, count: int, config: PowerConfig = QUICK) -> list[fleet.Outcome]:
    return asyncio.run(fleet.carry_out(hosts(count), action, {"": rack}, config))


def test_outcomes_come_in_the_order_of_the_nodes_and_the_limit_holds() -> None:
    rack, seen = Rack(), list[str]()
    work = fleet.carry_out(hosts(20), Action.ON, {"": rack}, QUICK, on_outcome=lambda one: seen.append(one.node))
    outcomes = asyncio.run(work)
    assert [one.number for one in outcomes] == list(range(1, 21))
    assert all(one.ok and one.power is Power.ON and one.tries == 1 for one in outcomes)
    assert 1 < rack.most <= 3
    assert sorted(seen) == sorted(one.node for one in outcomes)


def test_a_node_is_tried_again_and_one_that_never_answers_says_so() -> None:
    outcomes = carry_out(Rack(fail={"kn2": 2, "kn3": 99}), Action.OFF, 4)
    assert [(one.ok, one.tries) for one in outcomes] == [(True, 1), (True, 3), (False, 3), (True, 1)]
    assert outcomes[2].error == 'no answer from "kn3"'
    assert outcomes[2].power is Power.UNKNOWN


def test_what_the_controller_promises_is_not_believed() -> None:
    config = msgspec.structs.replace(QUICK, timeout_s=0.05, retries=0)
    one = carry_out(Rack(slow=frozenset({"kn1"})), Action.ON, 1, config)[0]
    assert not one.ok
    assert 'did not reach "on" within 0.05 s' in one.error


def test_a_node_without_a_driver_is_an_outcome_and_is_not_retried() -> None:
    nodes = [Host(1, "kn1", power="steam"), Host(2, "kn2")]
    outcomes = asyncio.run(fleet.carry_out(nodes, Action.STATUS, {}, QUICK))
    assert "steam" in outcomes[0].error
    assert "no power driver is configured" in outcomes[1].error
    assert [one.tries for one in outcomes] == [1, 1]


def test_status_reports_and_waits_for_nothing() -> None:
    rack = Rack()
    assert carry_out(rack, Action.STATUS, 1)[0].power is Power.OFF
    assert rack.calls["kn1"] == 1


def test_actions_are_named() -> None:
    assert action_named("cycle") is Action.CYCLE
    with pytest.raises(InvalidInput, match="not a power action"):
        action_named("explode")
