"""Changes of namespaces that concern several hosts: taking hosts out, and destroying a namespace everywhere.

Hosts that are away learn of it when they are back (`namespace.following`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from megatools.hostkit.errors import InvalidState
from megatools.hostkit.ranges import compress
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.cluster.schedule import Scheduler
from megatools.minimega.cluster.survey import survey
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.call import DEFAULT_NAMESPACE
from megatools.minimega.lang.operation import Handlers, Operation, Outcome, Reach, Request
from megatools.minimega.namespace.namespaces import Namespaces


class DestroyNamespace(Operation, frozen=True):
    """Kill and remove all that this host has of the namespace."""

    reach: ClassVar[Reach] = Reach.NAMESPACE_AND_LOCAL


class Spaces:
    """Namespaces as one thing over all their hosts."""

    def __init__(self, hosts: Hosts, namespaces: Namespaces, scheduler: Scheduler) -> None:
        self._hosts = hosts
        self._namespaces = namespaces
        self._scheduler = scheduler

    async def remove_hosts(self, namespace: str, text: str) -> str:
        """Take hosts out of a namespace; returns a warning about those that were away.

        Raises NotFound (no such host) or InvalidState (a host has VMs of the namespace).
        """
        membership = self._namespaces.membership
        leaving = membership.named(namespace, text)
        there = await survey(self._hosts, namespace, leaving)
        settled = {host: len(report.vms) for host, report in there.reports.items() if report.vms}
        if settled:
            lines = [f'host "{host}" has {count} VMs of namespace "{namespace}"' for host, count in settled.items()]
            raise InvalidState("\n".join(lines), hint="kill and flush them first")
        await membership.remove(namespace, leaving)
        if not there.away:
            return ""
        return (
            f"{compress(there.away)} did not answer: one that has VMs of the namespace joins it again once it is back"
        )

    async def destroy(self, namespace: str) -> str:
        """Destroy a namespace on all its hosts; returns a warning about those that were away.

        Raises NotFound (no such namespace) or InvalidState (still launching, or a host could not remove all).
        """
        self._namespaces.check_known(namespace)
        self._scheduler.check_idle(namespace)
        results = await self._hosts.run(Request(namespace, DestroyNamespace()))
        failed = [result for result in results if result.outcome is Outcome.ERROR]
        if failed:
            lines = [f"{result.host}: {result.error}" for result in failed]
            raise InvalidState(
                f'namespace "{namespace}" could not be destroyed everywhere\n' + "\n".join(lines), hint=failed[0].hint
            )
        self._scheduler.forget(namespace)
        if namespace != DEFAULT_NAMESPACE:
            await self._namespaces.membership.end(namespace)
        return _away([result.host for result in results if result.outcome is not Outcome.DONE])


def _away(hosts: Sequence[str]) -> str:
    return f"{compress(hosts)} did not answer: what is there of the namespace goes once it is back" if hosts else ""


def handlers(namespaces: Namespaces) -> Handlers:
    """The function that destroys on this host."""

    async def destroy(namespace: str, _asked: DestroyNamespace) -> Answer:
        await namespaces.destroy(namespace)
        return Answer()

    return {DestroyNamespace: destroy}
