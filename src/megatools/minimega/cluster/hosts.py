"""Where requests go: the hosts they are for. Commands and pages call `Hosts`; what is behind it, they do not know.

`LocalHosts` runs requests in this process, and is all there is on a machine by itself; `fanout.MeshHosts` asks others.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Protocol

from megatools.hostkit.errors import MegaError, chain_text, hint_of
from megatools.minimega.cluster.merging import merged
from megatools.minimega.lang.operation import Handlers, HostResult, Outcome, Reach, Request
from megatools.minimega.vm.targets import VmNotFound, VmsRefused

_log = logging.getLogger(__name__)


class Hosts(Protocol):
    """Runs requests on hosts; every host asked ends in exactly one result.

    Of a VM target's results only those that matter are shown (`merging`).
    """

    @property
    def local(self) -> str:
        """The name of this host."""
        ...

    async def run(self, request: Request) -> list[HostResult]:
        """The results of all hosts, in the order of the hosts."""
        ...

    def stream(self, request: Request) -> AsyncIterator[HostResult]:
        """The results as they arrive."""
        ...


class LocalHosts:
    """Handlers run here, in this process."""

    def __init__(self, local: str, handlers: Handlers) -> None:
        self._local = local
        self._handlers = handlers

    @property
    def local(self) -> str:
        """The name of this host."""
        return self._local

    async def run(self, request: Request) -> list[HostResult]:
        """The local host's result."""
        result = await self.answer(request)
        return merged([result]) if request.operation.reach is Reach.VM else [result]

    async def stream(self, request: Request) -> AsyncIterator[HostResult]:
        """The local host's result."""
        for result in await self.run(request):
            yield result

    async def answer(self, request: Request) -> HostResult:
        """What this host says, before it is merged with what others say."""
        handler = self._handlers[type(request.operation)]
        try:
            answer = await handler(request.namespace, request.operation)
        except MegaError as error:
            missing = error.missing if isinstance(error, VmNotFound | VmsRefused) else ()
            return HostResult(
                self._local,
                Outcome.ERROR,
                error=chain_text(error),
                hint=hint_of(error),
                kind=type(error).__name__,
                missing=missing,
            )
        except Exception as error:  # noqa: BLE001 - the request boundary (R5): a bug keeps its traceback, the user gets one line
            _log.exception("request %s failed", type(request.operation).__name__)
            text = f"internal error: {error!r}"
            return HostResult(self._local, Outcome.ERROR, error=text, kind=type(error).__name__)
        return HostResult(self._local, Outcome.DONE, answer, missing=answer.missing)
