"""Power for many nodes at once: in parallel with a limit, with retries, one honest outcome per node.

`run` and `api` call `carry_out`; the driver of each node is chosen by `Host.power`, else the default one. An action
counts as done when the node's power is what it should be: a controller says "ok" before the node is on, so the status
is asked again until it is, or until the time for this node is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from megatools.hostkit.errors import InvalidInput, MegaError, PermissionDenied, Unavailable, chain_text
from megatools.igor.model.config import PowerConfig
from megatools.igor.model.host import Host
from megatools.igor.power.driver import Action, Power, PowerDriver, wanted

_POLL_S = 0.5
_PAUSE_S = 1.0
_FINAL = (InvalidInput, PermissionDenied)  # trying again cannot help


class Outcome(msgspec.Struct, frozen=True):
    """What became of one node; `error` is empty when the action was carried out."""

    node: str
    number: int
    action: str
    power: Power
    error: str = ""
    tries: int = 1
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it worked."""
        return not self.error


async def carry_out(
    hosts: Iterable[Host],
    action: Action,
    drivers: Mapping[str, PowerDriver],
    config: PowerConfig,
    *,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """The outcomes, in the order of the hosts; never raises for a node. The driver "" is the default one."""
    places = asyncio.Semaphore(max(1, config.parallel))

    async def one(host: Host) -> Outcome:
        async with places:
            outcome = await _one(host, action, drivers, config)
        if on_outcome is not None:
            on_outcome(outcome)
        return outcome

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(host)) for host in hosts]
    return [task.result() for task in tasks]


async def _one(host: Host, action: Action, drivers: Mapping[str, PowerDriver], config: PowerConfig) -> Outcome:
    started, error, power, tries = time.monotonic(), "", Power.UNKNOWN, 0
    while tries <= config.retries:
        if tries:
            await asyncio.sleep(_PAUSE_S)
        tries += 1
        try:
            power, error = await _tried(host, action, drivers, config.timeout_s), ""
            break
        except MegaError as failure:
            error = chain_text(failure)
            if isinstance(failure, _FINAL):
                break
    return Outcome(host.name, host.number, action.value, power, error, tries, round(time.monotonic() - started, 3))


async def _tried(host: Host, action: Action, drivers: Mapping[str, PowerDriver], timeout_s: float) -> Power:
    driver = drivers.get(host.power)
    if driver is None:
        if not host.power:
            raise InvalidInput("no power driver is configured", hint='set "power" in igor.conf')
        raise InvalidInput(f'node "{host.name}" names the power driver "{host.power}", which is not configured')
    try:
        async with asyncio.timeout(timeout_s):
            power = await driver.act(host, action, timeout_s=timeout_s)
            while power not in (wanted(action), Power.UNKNOWN) and action is not Action.STATUS:
                await asyncio.sleep(_POLL_S)
                power = await driver.act(host, Action.STATUS, timeout_s=timeout_s)
    except TimeoutError:
        raise Unavailable(f'node "{host.name}" did not reach "{action.value}" within {timeout_s:g} s') from None
    return power
