"""Many hosts on this machine, in network namespaces: the mesh against the bare engine, bulk bytes, launches.

One file per group of promises, each with a function that yields results. `scripts/bench cluster` measures `PARTS` too,
which are benchmarks of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.cluster_launch import launches
from bench.cluster_mesh import mesh
from bench.promise import Options, Result
from bench.pulling import pulls

PARTS = ("files", "simulate")


def run(options: Options) -> Iterable[Result]:
    """The promises of the cluster."""
    yield from mesh(options.rounds)
    yield from pulls(options.rounds)
    yield from launches(options.rounds)
