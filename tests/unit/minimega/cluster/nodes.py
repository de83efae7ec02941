"""Nodes of a mesh in memory, each with handlers of its own: what the tests of this folder stand on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from megatools.hostkit.errors import InvalidState
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster import fanout
from megatools.minimega.cluster.calling import Patience
from megatools.minimega.cluster.fanout import MeshHosts
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import Handlers, Operation, Reach
from megatools.minimega.mesh.memory import MemoryMesh, MemoryNetwork
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.vm.targets import VmNotFound


class Say(Operation, frozen=True):
    """Answer with a text; `wait` until the node is told to go on, or `fail`."""

    reads = True

    text: str = ""
    wait: bool = False
    fail: bool = False


class Change(Operation, frozen=True):
    """Count on the node."""


class Own(Operation, frozen=True):
    """Count on the node where it was asked."""

    reach = Reach.LOCAL


class Touch(Operation, frozen=True):
    """Touch VMs by name."""

    reach = Reach.VM

    names: tuple[str, ...]


@dataclass
class Node:
    """One host: what was done there, and the door to the others."""

    name: str
    vms: frozenset[str]
    mesh: MemoryMesh
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    done: list[str] = field(default_factory=list)
    spaces: dict[str, Sequence[str]] = field(default_factory=dict)
    hosts: MeshHosts = field(init=False)

    def handlers(self) -> Handlers:
        """What this node does."""

        async def say(namespace: str, asked: Say) -> Answer:
            self.begun.set()
            if asked.wait:
                await self.go_on.wait()
            if asked.fail:
                raise InvalidState(f"not on {self.name}", hint="elsewhere")
            self.done.append(asked.text)
            return Answer(asked.text or f"{self.name} in {namespace}")

        async def count(_namespace: str, _asked: Change | Own) -> Answer:
            self.done.append("count")
            return Answer()

        async def touch(_namespace: str, asked: Touch) -> Answer:
            missing = tuple(name for name in asked.names if name not in self.vms)
            if len(missing) == len(asked.names):
                raise VmNotFound(missing)
            self.done.extend(name for name in asked.names if name in self.vms)
            return Answer(missing=missing)

        return {Say: say, Change: count, Own: count, Touch: touch}


@asynccontextmanager
async def mesh_of(
    *names: str,
    vms: dict[str, Sequence[str]] | None = None,
    roles: dict[str, tuple[Role, str]] | None = None,
    silence_s: float = 5.0,
) -> AsyncIterator[tuple[MemoryNetwork, list[Node]]]:
    """Nodes that all know namespace `lab` as all of them, and any other as themselves."""
    network = MemoryNetwork()
    nodes: list[Node] = []
    async with Supervisor("nodes") as supervisor:
        for name in names:
            role, namespace = (roles or {}).get(name, (Role.FULL, ""))
            mesh = network.join(name, role=role, namespace=namespace)
            node = Node(name, frozenset((vms or {}).get(name, ())), mesh)
            node.spaces["lab"] = names
            handlers = node.handlers()
            here = LocalHosts(name, handlers)
            fanout.serve(mesh, here, handlers, supervisor)
            patience = Patience(silence_s)
            node.hosts = MeshHosts(here, mesh, _hosts_of(node), patience)
            nodes.append(node)
        yield network, nodes


def _hosts_of(node: Node) -> fanout.HostsOf:
    return lambda namespace: node.spaces.get(namespace, (node.name,))
