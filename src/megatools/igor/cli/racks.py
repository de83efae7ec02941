"""The rack diagrams of `igor show`, drawn as the document draws them; pure.

::

    ---------------------------------
    |281|282|283|284|285|286|287|288|
    |289|290|291|292|293|294|295|296|
    ---------------------------------
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from megatools.igor.model.cluster import Cluster

RESET = "\x1b[0m"


def diagram(cluster: Cluster, paint: Mapping[int, str]) -> str:
    """All racks, each followed by an empty line; `paint` holds terminal sequences for the cells that get one."""
    return "\n".join(line for rack in _racks(cluster) for line in _rack(cluster, rack, paint))


def _racks(cluster: Cluster) -> Iterator[range]:
    size = cluster.rackwidth * cluster.rackheight
    for first in range(cluster.start, cluster.end + 1, size):
        yield range(first, first + size)


def _rack(cluster: Cluster, rack: range, paint: Mapping[int, str]) -> Iterator[str]:
    digits, width = max(len(str(cluster.end)), cluster.padlen), cluster.rackwidth
    border = "-" * ((digits + 1) * width + 1)
    yield border
    for first in range(rack.start, min(rack.stop, cluster.end + 1), width):
        row = range(first, first + width)
        cells = [f"{number:{digits}d}" if number <= cluster.end else " " * digits for number in row]
        if paint:
            cells = [f"{paint[at]}{cell}{RESET}" if at in paint else cell for at, cell in zip(row, cells, strict=True)]
        yield "|" + "|".join(cells) + "|"
    yield border
    yield ""
