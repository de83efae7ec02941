"""What commands may reach: the few doors a command family is given, and how a request becomes an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from megatools.hostkit.logcontrol import LogControl
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.lang.answer import Group, Response, response_of
from megatools.minimega.lang.call import ActiveNamespace, Call
from megatools.minimega.lang.operation import HostResult, Operation, Request
from megatools.minimega.namespace.namespaces import Namespaces


class Web(Protocol):
    """The page server, as commands see it."""

    async def start(self, address: str) -> str:
        """Serve on `[host]:port` (empty: the default); returns the URL with its token."""
        ...

    @property
    def novnc(self) -> str:
        """The directory the noVNC files are served from."""
        ...

    def set_novnc(self, path: str) -> None:
        """Serve noVNC from another directory; an empty path restores the default."""
        ...


class Daemon(Protocol):
    """The daemon itself, as commands see it."""

    async def quit(self) -> None:
        """Tear down; returns when everything is gone, and the daemon ends once its answers are sent."""
        ...

    def quit_later(self, delay_s: float) -> None:
        """Tear down and end after a delay in seconds."""
        ...

    async def nuke(self, *, everything: bool) -> None:
        """Kill and remove whatever belongs to this base directory, then end; `everything` includes the files."""
        ...

    def settings_text(self) -> Mapping[str, str]:
        """Every setting by name, as text."""
        ...


@dataclass(frozen=True)
class Services:
    """The doors of the features."""

    hosts: Hosts
    namespaces: Namespaces
    active: ActiveNamespace
    web: Web
    daemon: Daemon
    log: LogControl
    files: Path


Cmd: TypeAlias = Call[Services]


async def run(call: Cmd, operation: Operation) -> Group:
    """Ask every host of the command's namespace, and turn the results into a response group."""
    results = await call.services.hosts.run(Request(call.namespace, operation))
    return [_response(result) for result in results]


def _response(result: HostResult) -> Response:
    if result.answer is None:
        return Response(result.host, error=result.error_text or result.outcome.value)
    return response_of(result.host, result.answer)
