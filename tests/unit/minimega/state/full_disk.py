"""A journal whose disk is full for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from megatools.hostkit.errors import Unavailable
from megatools.minimega.state.journal import Change, Journal


@contextmanager
def full_disk(journal: Journal) -> Iterator[list[Change]]:
    """Within the block the journal refuses every write; yields what it refused so far."""
    refusals: list[Change] = []

    def refuse(*changes: Change) -> asyncio.Future[None]:
        refusals.extend(changes)
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(Unavailable("cannot write the journal", hint="is the disk full?"))
        return refused

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "begin", refuse)
        yield refusals
