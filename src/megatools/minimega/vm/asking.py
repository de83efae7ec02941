"""Ask many VMs for the same thing at once and join their answers (spec B.11, D.12). Used by `fleet`."""

from __future__ import annotations

import asyncio

from megatools.hostkit.errors import InvalidState, MegaError, NotFound, chain_text, hint_of
from megatools.minimega.vm.lifecycle import Wish
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.targets import Selection


async def ask_all(selection: Selection[Machine], wish: Wish) -> str:
    """Ask every VM selected; returns a line for each word that named none.

    Raises NotFound when no word names a VM, and after all have answered an error with one line per VM that refused.
    """
    missing = [f"vm not found: {word}" for word in selection.unmatched]
    if missing and not selection.matched:
        raise NotFound("\n".join(missing), hint="`vm info` lists them")
    errors: list[MegaError] = []

    async def one(machine: Machine) -> None:
        try:
            await machine.ask(wish, wild=selection.wild)
        except MegaError as error:  # one that fails must not hide the others
            errors.append(error)

    async with asyncio.TaskGroup() as group:
        for machine in selection.matched:
            group.create_task(one(machine))
    if len(errors) == 1 and not missing:
        raise errors[0]
    if errors:
        lines = [*(chain_text(error) for error in errors), *missing]
        raise InvalidState("\n".join(lines), hint=hint_of(errors[0]))
    return "\n".join(missing)
