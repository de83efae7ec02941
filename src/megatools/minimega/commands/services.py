"""What commands may reach: the few doors a command family is given, and how a request becomes an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from megatools.hostkit.logcontrol import LogControl
from megatools.hostkit.ranges import by_number
from megatools.minimega.cluster.bridging import Bridging
from megatools.minimega.cluster.control import MeshControl
from megatools.minimega.cluster.deploy import Deployment
from megatools.minimega.cluster.enrolling import ClusterControl
from megatools.minimega.cluster.gathering import batches
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.cluster.schedule import Scheduler
from megatools.minimega.cluster.spaces import Spaces
from megatools.minimega.files.library import Library
from megatools.minimega.lang.answer import Group, Groups, Response, response_of
from megatools.minimega.lang.call import ActiveNamespace, Call
from megatools.minimega.lang.operation import HostResult, Operation, Request
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.vm.targets import not_found_text


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
    scheduler: Scheduler
    spaces: Spaces
    bridging: Bridging
    active: ActiveNamespace
    web: Web
    daemon: Daemon
    log: LogControl
    files: Path
    library: Library
    mesh: MeshControl
    deployment: Deployment
    cluster: ClusterControl


Cmd: TypeAlias = Call[Services]


def request(call: Cmd, operation: Operation, hosts: Sequence[str] = ()) -> Request:
    """The operation for the command's namespace: its hosts, or those named.

    A command that another node sent acts here only, within that node's limits. Raises PermissionDenied.
    """
    if call.session.limits is not None:
        call.session.limits.check_operation(call.namespace, operation)
    if call.session.source == "mesh":
        hosts = (call.host,)
    return Request(call.namespace, operation, tuple(hosts))


async def run(call: Cmd, operation: Operation, hosts: Sequence[str] = ()) -> Groups:
    """Ask every host of the command's namespace (or those named), and show what they answer as it comes."""
    asked = request(call, operation, hosts)
    if asked.hosts == (call.host,):
        return _here(call.services.hosts, asked)
    results = call.services.hosts.stream(asked)
    options = call.scope.options
    return _whole(results) if options.json or options.csv else _shown(results)


async def _here(hosts: Hosts, asked: Request) -> Groups:
    """What this host alone says: there is nothing to wait for and put together."""
    for result in await hosts.run(asked):
        yield responses(result)


async def _whole(results: AsyncIterator[HostResult]) -> Groups:
    """All answers as one group: who reads JSON or CSV wants one document, not the quick ones first."""
    found = sorted([result async for result in results], key=lambda result: by_number(result.host))
    yield [response for result in found for response in responses(result)]


async def _shown(results: AsyncIterator[HostResult]) -> Groups:
    async for batch in batches(results):
        batch.sort(key=lambda result: by_number(result.host))
        yield [response for result in batch for response in responses(result)]


def responses(result: HostResult) -> Group:
    """A host's result as responses: one, or two when a table comes with words that named nothing."""
    if result.answer is None:
        return [Response(result.host, error=result.error_text or result.outcome.value)]
    shown = [response_of(result.host, result.answer)]
    if result.answer.missing:
        shown.append(Response(result.host, error=not_found_text(result.answer.missing)))
    return shown
