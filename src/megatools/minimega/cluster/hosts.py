"""Where requests go: the hosts of a namespace, of which this version knows one, the local host.

Commands and pages call `Hosts.run`; remote hosts come with the cluster and answer the same way.
"""

from __future__ import annotations

import logging
from typing import Protocol

from megatools.hostkit.errors import MegaError, chain_text, hint_of
from megatools.minimega.lang.operation import Handlers, HostResult, Outcome, Request

_log = logging.getLogger(__name__)


class Hosts(Protocol):
    """Runs requests on hosts; every host asked ends in exactly one result."""

    @property
    def local(self) -> str:
        """The name of this host."""
        ...

    async def run(self, request: Request) -> list[HostResult]:
        """One terminal result per host."""
        ...


class LocalHosts:
    """The one-host implementation: handlers run here, in this process."""

    def __init__(self, local: str, handlers: Handlers) -> None:
        self._local = local
        self._handlers = handlers

    @property
    def local(self) -> str:
        """The name of this host."""
        return self._local

    async def run(self, request: Request) -> list[HostResult]:
        """The local host's result."""
        handler = self._handlers[type(request.operation)]
        try:
            answer = await handler(request.namespace, request.operation)
        except MegaError as error:
            kind = type(error).__name__
            return [HostResult(self._local, Outcome.ERROR, error=chain_text(error), hint=hint_of(error), kind=kind)]
        except Exception as error:  # noqa: BLE001 - the request boundary (R5): a bug keeps its traceback, the user gets one line
            _log.exception("request %s failed", type(request.operation).__name__)
            text = f"internal error: {error!r}"
            return [HostResult(self._local, Outcome.ERROR, error=text, kind=type(error).__name__)]
        return [HostResult(self._local, Outcome.DONE, answer)]
