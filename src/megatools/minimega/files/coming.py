"""What is on its way to a host, as other hosts may ask it: while a launch waits for its images, mostly.

`app` registers `handlers(library)`; `cluster.arrivals` asks.
"""

from __future__ import annotations

from typing import ClassVar

from megatools.minimega.files.library import Library, TransferRow
from megatools.minimega.lang.answer import Answer, rows_table
from megatools.minimega.lang.operation import Handlers, Operation, Reach


class FilesComing(Operation, frozen=True):
    """The rows of `file status` of a host."""

    reach: ClassVar[Reach] = Reach.NAMESPACE
    reads: ClassVar[bool] = True


def handlers(library: Library) -> Handlers:
    """The function that answers for this host."""

    async def coming(_namespace: str, _op: FilesComing) -> Answer:
        return Answer(table=rows_table(TransferRow, library.status()))

    return {FilesComing: coming}
