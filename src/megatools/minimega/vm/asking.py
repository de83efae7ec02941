"""Ask many VMs for the same thing at once and join their answers (spec B.11, D.12). Used by `fleet`."""

from __future__ import annotations

import asyncio

from megatools.hostkit.errors import MegaError, chain_text, hint_of
from megatools.minimega.vm.lifecycle import Wish
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.targets import Selection, VmNotFound, VmsRefused


async def ask_all(selection: Selection[Machine], wish: Wish) -> tuple[str, ...]:
    """Ask every VM selected; returns the words that named none.

    Raises VmNotFound when no word names a VM, and after all have answered an error with one line per VM that refused.
    """
    missing = selection.unmatched
    if missing and not selection.matched:
        raise VmNotFound(missing)
    errors: dict[str, MegaError] = {}

    async def one(machine: Machine) -> None:
        try:
            await machine.ask(wish, wild=selection.wild)
        except MegaError as error:  # one that fails must not hide the others
            errors[machine.uuid] = error

    async with asyncio.TaskGroup() as group:
        for machine in selection.matched:
            group.create_task(one(machine))
    refused = [(machine, errors[machine.uuid]) for machine in selection.matched if machine.uuid in errors]
    if len(refused) == 1 and not missing:
        raise refused[0][1]
    if refused:
        lines = [f"{machine.name}: {chain_text(error)}" for machine, error in refused]
        raise VmsRefused("\n".join(lines), missing, hint=hint_of(refused[0][1]))
    return missing
