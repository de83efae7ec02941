"""A bridge of a namespace as one over all its hosts: tunnels between each two of them (`ns bridge`).

Any node can ask; there is no head. What can be known before anything is made is checked before::

    ask all hosts how the bridge is there -> kind of tunnel -> shared record with a key -> ask all hosts to settle
    one could not: the record is what it was, and all settle again

A host that does not answer is named; it joins by itself once it is back (`cluster.settling`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from megatools.hostkit.errors import AlreadyExists, CommandFailed, InvalidState, NotFound, Unavailable
from megatools.hostkit.ranges import compress
from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.cluster.settling import KIND, JoinRecord, SettleBridge, TellEnd, join_id, joins, stamps
from megatools.minimega.lang.call import DEFAULT_NAMESPACE
from megatools.minimega.lang.operation import HostResult, Operation, Outcome, Request
from megatools.minimega.namespace.membership import Membership
from megatools.minimega.net.joining import BridgeEnd
from megatools.minimega.net.names import check_bridge


@dataclass(frozen=True)
class _Survey:
    """The hosts that answered, and those that did not."""

    ends: Mapping[str, BridgeEnd]
    away: Sequence[str]

    @property
    def present(self) -> tuple[str, ...]:
        return tuple(self.ends)


class Bridging:
    """Bridges over the hosts of namespaces."""

    def __init__(self, hosts: Hosts, membership: Membership) -> None:
        self._hosts = hosts
        self._membership = membership

    async def join(self, namespace: str, bridge: str, kind: TunnelKind | None = None) -> str:
        """Join the namespace's hosts with a bridge; returns what the user should know.

        Where no kind is asked for it stays what it is, else it is GRE, or VXLAN where a host cannot make GRE. Raises
        InvalidInput, InvalidState (trunks join the hosts already), AlreadyExists (a single tunnel does), Unavailable
        (no such tunnels), CommandFailed (a host could not; nothing has changed).
        """
        check_bridge(bridge)
        if namespace == DEFAULT_NAMESPACE:
            return ""  # it has the local host only, for ever
        space = await self._membership.make(namespace)
        survey = await self._survey(namespace, bridge, space.hosts)
        _check_loops(bridge, survey.ends)
        before = joins(self._membership, namespace).get(bridge)
        chosen, note = _choose(kind, before, survey.ends)
        if before is not None and before.kind is chosen:
            record = before
        else:
            record = JoinRecord(space.incarnation, chosen, secrets.randbelow(TunnelKind.VXLAN.key_limit - 1) + 1)
        await self._agree(namespace, bridge, record)
        failures, lost = await self._settle(namespace, bridge, survey.present)
        if failures:
            if joins(self._membership, namespace).get(bridge) == record:  # nobody has decided otherwise meanwhile
                await self._agree(namespace, bridge, before)
            stuck, _ = await self._settle(namespace, bridge, survey.present)
            failures += [f"{text}, going back" for text in stuck]
            raise CommandFailed(
                f'cannot join the hosts of namespace "{namespace}" with bridge "{bridge}"\n' + "\n".join(failures)
            )
        return "\n".join(text for text in (note, _absent([*survey.away, *lost], "joins")) if text)

    async def leave(self, namespace: str, bridge: str) -> str:
        """Let every host have the bridge for itself again; returns what the user should know.

        Raises NotFound where the bridge joins no hosts, CommandFailed (a host could not).
        """
        if bridge not in joins(self._membership, namespace):
            if len(self._membership.hosts(namespace)) < 2:
                return ""
            raise NotFound(
                f'bridge "{bridge}" does not join the hosts of namespace "{namespace}"', hint="see ns bridge"
            )
        hosts = self._membership.hosts(namespace)
        await self._agree(namespace, bridge, None)
        survey = await self._survey(namespace, bridge, hosts)
        failures, lost = await self._settle(namespace, bridge, survey.present)
        if failures:
            raise CommandFailed(
                f'bridge "{bridge}" is still joined\n' + "\n".join(failures), hint="see the hosts' logs"
            )
        return _absent([*survey.away, *lost], "leaves")

    async def _survey(self, namespace: str, bridge: str, hosts: Sequence[str]) -> _Survey:
        ends: dict[str, BridgeEnd] = {}
        away: list[str] = []
        for result in await self._ask(namespace, TellEnd(bridge), hosts):
            if result.outcome is Outcome.ERROR:
                raise Unavailable(f"{result.host}: {result.error}", hint=result.hint)
            if result.answer is None or result.answer.data is None:
                away.append(result.host)
                continue
            ends[result.host] = msgspec.json.decode(result.answer.data, type=BridgeEnd)
            if not ends[result.host].address:
                raise Unavailable(f"{result.host} has no address for tunnels", hint="give it one, or set -address")
        return _Survey(ends, away)

    async def _agree(self, namespace: str, bridge: str, record: JoinRecord | None) -> None:
        await self._membership.shared.put_all(KIND, {join_id(namespace, bridge): record})

    async def _settle(self, namespace: str, bridge: str, hosts: Sequence[str]) -> tuple[list[str], list[str]]:
        """Wait until hosts have done their part: why some could not, and those that were lost meanwhile."""
        space, join = stamps(self._membership, namespace, bridge)
        results = await self._ask(namespace, SettleBridge(bridge, space, join, tuple(hosts)), hosts)
        failures = [f"{result.host}: {result.error}" for result in results if result.outcome is Outcome.ERROR]
        lost = [result.host for result in results if result.outcome in (Outcome.LOST, Outcome.TIMED_OUT)]
        return failures, lost

    async def _ask(self, namespace: str, operation: Operation, hosts: Sequence[str]) -> Sequence[HostResult]:
        return await self._hosts.run(Request(namespace, operation, tuple(hosts))) if hosts else []


def _check_loops(bridge: str, ends: Mapping[str, BridgeEnd]) -> None:
    """Hosts that are joined already must not be joined again: frames would go round."""
    trunked = [host for host, end in ends.items() if end.trunks]
    if len(trunked) > 1:
        raise InvalidState(
            f'bridge "{bridge}" has trunks on {compress(trunked)}; tunnels between them as well would be a loop',
            hint="VMs on it reach each other over the trunks",
        )
    hosts = {end.address: host for host, end in ends.items()}
    for host, end in ends.items():
        for remote in end.singles:
            if remote in hosts:
                raise AlreadyExists(
                    f'bridge "{bridge}" of {host} has a tunnel to {hosts[remote]} already',
                    hint=f"remove it there first: bridge notunnel {bridge} <tunnel>",
                )


def _choose(
    asked: TunnelKind | None, before: JoinRecord | None, ends: Mapping[str, BridgeEnd]
) -> tuple[TunnelKind, str]:
    """The kind of tunnels, and what to say about it. Raises Unavailable."""
    unable = {kind: [host for host, end in ends.items() if kind not in end.kinds] for kind in TunnelKind}
    wanted = asked or (before.kind if before is not None else TunnelKind.GRE)
    if not unable[wanted]:
        return wanted, ""
    lacking = f"{compress(unable[wanted])} cannot make {wanted} tunnels"
    if asked is None and not unable[TunnelKind.VXLAN]:
        return TunnelKind.VXLAN, f"joined with {TunnelKind.VXLAN}: {lacking}"
    possible = [kind for kind in TunnelKind if not unable[kind]]
    raise Unavailable(lacking, hint=f"all hosts can make: {', '.join(possible) or 'none'}")


def _absent(hosts: Sequence[str], verb: str) -> str:
    return f"{compress(hosts)} did not answer: it {verb} once it is back" if hosts else ""
