"""Who is connected to whom: every node knows its own connections, and any node can ask the others for theirs.

Used by `control`. The text of `mesh list` is that of 2013, the file of `mesh dot` is for graphviz.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from megatools.hostkit.ranges import by_number
from megatools.minimega.mesh.mesh import Caller, Ending, Link, Mesh

SERVICE = "links"
ANSWER_S = 3.0


class Topology(msgspec.Struct, frozen=True):
    """The peers of every node by name, and what is wrong with those that did not say."""

    peers: Mapping[str, Sequence[str]]
    problems: Mapping[str, str]


def serve(mesh: Mesh) -> None:
    """Tell other nodes of this one's connections from now on."""

    async def answer(_caller: Caller, _request: bytes) -> AsyncGenerator[bytes, None]:
        yield msgspec.msgpack.encode(await mesh.links())

    mesh.serve(SERVICE, answer)


async def ask(mesh: Mesh) -> Topology:
    """The connections of all members. A node that does not answer in time is a problem, and known by its peers."""
    links: list[Link] = list(await mesh.links())
    problems: dict[str, str] = {}
    members = [member.name for member in mesh.members()]
    async with aclosing(mesh.call(members, SERVICE, b"", timeout_s=ANSWER_S)) as arrivals:  # type: ignore[type-var]
        async for arrival in arrivals:
            if arrival.ending is None:
                try:
                    links += msgspec.msgpack.decode(arrival.payload, type=list[Link])
                except msgspec.MsgspecError as error:
                    problems[arrival.host] = f"its answer is unreadable, it may run another version: {error}"
            elif arrival.ending is not Ending.DONE:
                problems[arrival.host] = arrival.error or arrival.ending.value
    return Topology(adjacency([mesh.name, *members], links), problems)


def adjacency(nodes: Sequence[str], links: Sequence[Link]) -> dict[str, list[str]]:
    """The peers of every node; a connection that one end speaks of is one of both."""
    peers: dict[str, set[str]] = {node: set() for node in nodes}
    for link in links:
        peers.setdefault(link.node, set()).add(link.peer)
        peers.setdefault(link.peer, set()).add(link.node)
    return {node: sorted(peers[node], key=by_number) for node in sorted(peers, key=by_number)}


def list_text(peers: Mapping[str, Sequence[str]]) -> str:
    """Every node with its peers below it."""
    return "\n".join(line for node, others in peers.items() for line in (node, *(f" |--{other}" for other in others)))


def dot_text(peers: Mapping[str, Sequence[str]]) -> str:
    """The connections as an undirected graph in graphviz's language, each once."""
    lines = ["graph minimega {"]
    lines += [f"  {_quoted(node)};" for node in peers]
    lines += [
        f"  {_quoted(node)} -- {_quoted(other)};"
        for node, others in peers.items()
        for other in others
        if by_number(node) < by_number(other)
    ]
    return "\n".join((*lines, "}", ""))


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
