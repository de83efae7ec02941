"""Screenshots of virtual machines (spec B.11)."""

from __future__ import annotations

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Group
from megatools.minimega.lang.registry import Family
from megatools.minimega.vm.operations import TakeScreenshot

family: Family[Services] = Family("vm screenshot", "Screenshots")
_MOST_PX = 16384


@family.command(
    "vm screenshot <vm> [maximum dimension]",
    "vm screenshot <vm> file <filename> [maximum dimension]",
    suggest={"vm": "vm"},
)
async def vm_screenshot(call: Cmd, vm: str, filename: str = "", maximum: str | None = None) -> Group:
    """Write the screen of a running VM to a PNG file

    The file is `screenshot.png` in the VM's directory unless one is named. With a maximum, in pixels, the picture is
    made smaller so that no side is longer.
    """
    return await run(call, TakeScreenshot(vm, filename, _pixels(maximum)))


def _pixels(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isdigit() or not 1 <= int(text) <= _MOST_PX:
        raise InvalidInput(f'invalid maximum dimension "{text}"', hint=f"pixels, 1 to {_MOST_PX}")
    return int(text)
