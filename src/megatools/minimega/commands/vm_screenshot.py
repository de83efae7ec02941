"""Screenshots of virtual machines (spec B.11)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Groups
from megatools.minimega.lang.registry import Family
from megatools.minimega.vm.operations import TakeScreenshot
from megatools.minimega.vm.pictures import write_picture

family: Family[Services] = Family("vm screenshot", "Screenshots")
_MOST_PX = 16384


@family.command(
    "vm screenshot <vm> [maximum dimension]",
    "vm screenshot <vm> file <filename> [maximum dimension]",
    suggest={"vm": "vm"},
)
async def vm_screenshot(call: Cmd, vm: str, filename: str = "", maximum: str | None = None) -> Groups:
    """Write the screen of a running VM to a PNG file

    The file is `screenshot.png` in the VM's directory unless one is named. With a maximum, in pixels, the picture is
    made smaller so that no side is longer.
    """
    operation = TakeScreenshot(vm, keep=not filename, max_px=_pixels(maximum))
    if not filename:
        return await run(call, operation)
    return _written(call, operation, Path(filename))


async def _written(call: Cmd, operation: TakeScreenshot, path: Path) -> Groups:
    """The picture may come from another host; the file is written on this one."""
    async for group in await run(call, operation):
        for response in group:
            if response.data is not None:
                await write_picture(path, msgspec.json.decode(response.data, type=bytes))
        yield group


def _pixels(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isdigit() or not 1 <= int(text) <= _MOST_PX:
        raise InvalidInput(f'invalid maximum dimension "{text}"', hint=f"pixels, 1 to {_MOST_PX}")
    return int(text)
