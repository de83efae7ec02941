"""What nodes agree on about a namespace, whoever of them heard of it last."""

from __future__ import annotations

import asyncio
from pathlib import Path

from megatools.minimega.namespace.membership import Membership
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import StampClock


def node(name: str, others: tuple[str, ...], journal: Journal) -> Membership:
    """A node that has heard of nothing yet."""
    return Membership(Shared(journal, StampClock(name)), name, lambda: others)


async def meet(one: Membership, other: Membership) -> None:
    """Trade all records."""
    entries = one.shared.entries()
    await one.shared.merge(other.shared.entries())
    await other.shared.merge(entries)


def test_naming_a_namespace_elsewhere_does_not_undo_what_was_said_of_it(tmp_path: Path) -> None:
    one_journal, two_journal = Journal(tmp_path / "1.db", "h1"), Journal(tmp_path / "2.db", "h2")
    one, two = node("h1", ("h2",), one_journal), node("h2", ("h1",), two_journal)

    async def scenario() -> None:
        await one.add("lab", "h1,h2")
        await two.make("lab")  # any command of the namespace does, before it is heard of
        assert two.hosts("lab") == ("h1",)
        await meet(one, two)
        assert one.record("lab") == two.record("lab")
        assert one.hosts("lab") == ("h2", "h1")
        await two.end("lab")
        await meet(one, two)
        made = await one.make("lab")
        assert made.incarnation and one.record("lab") == made
        await two.make("lab")
        await meet(one, two)
        assert one.record("lab") == two.record("lab")
        assert one.rules("lab").incarnation

    asyncio.run(scenario())
    one_journal.close()
    two_journal.close()
