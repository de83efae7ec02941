"""A node's own part of a call: no engine is needed for it. Used by `mesh.clique` and `mesh.alone`."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from megatools.hostkit.errors import MegaError, chain_text, hint_of
from megatools.minimega.mesh.calls import Call
from megatools.minimega.mesh.mesh import Ending

_log = logging.getLogger(__name__)


async def run_here(call: Call, name: str, run: Callable[[], AsyncGenerator[bytes, None]]) -> None:
    """Run a service here and feed a call with it, to its end."""
    try:
        async with aclosing(run()) as running:
            async for part in running:
                call.part(name, part)
    except MegaError as error:
        call.end(name, Ending.ERROR, chain_text(error), hint_of(error), type(error).__name__)
    except Exception as error:  # noqa: BLE001 - the message boundary (R5): a bug keeps its traceback, the caller gets one line
        _log.exception("a service failed")
        call.end(name, Ending.ERROR, f"internal error: {error!r}")
    else:
        call.end(name, Ending.DONE)
