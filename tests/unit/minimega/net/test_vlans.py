"""VLAN names get numbers nobody has, everything is journaled, and errors have the words clients know."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.hostkit.errors import AlreadyExists, InvalidInput, MegaError, Unavailable
from megatools.minimega.net.vlans import RangeRow, Vlan, VlanRow, Vlans
from megatools.minimega.state.journal import Journal

pytestmark = pytest.mark.anyio
NS = "minimega"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db", "host")
    yield journal
    journal.close()


async def test_numbers_are_used_as_they_are_and_never_handed_out(journal: Journal) -> None:
    vlans = Vlans(journal)
    assert await vlans.resolve(NS, "101") == Vlan(101)
    assert await vlans.resolve(NS, "lan") == Vlan(102, "lan")
    assert await vlans.resolve(NS, "lan") == Vlan(102, "lan")
    assert vlans.blacklisted() == [101]


async def test_the_range_the_daemon_was_started_with_is_kept_to(journal: Journal) -> None:
    vlans = Vlans(journal, limits=(200, 202))
    assert [(await vlans.resolve(NS, name)).number for name in ("a", "b")] == [200, 201]
    assert vlans.range_text(NS) == "200-201"
    with pytest.raises(Unavailable, match="out of VLANs"):
        await vlans.resolve("other", "c")


@pytest.mark.parametrize("text", ["-1", "4096", "99999999999"])
async def test_numbers_out_of_range_are_refused(journal: Journal, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^invalid VLAN \(0 <= vlan < 4096\)$"):
        await Vlans(journal).resolve(NS, text)


@pytest.mark.parametrize("text", ["", "other//", "//x"])
async def test_empty_names_are_refused(journal: Journal, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^VLAN must be non-empty string$"):
        await Vlans(journal).resolve(NS, text)


async def test_names_are_per_namespace_and_can_be_reached_from_outside(journal: Journal) -> None:
    vlans = Vlans(journal)
    mine = await vlans.resolve(NS, "lan")
    other = await vlans.resolve("other", "lan")
    assert mine.number != other.number
    assert (await vlans.resolve(NS, "other//lan")).number == other.number
    assert vlans.label(NS, mine.number) == f"lan ({mine.number})"
    assert vlans.label(NS, other.number) == f"other//lan ({other.number})"
    assert vlans.label(NS, 7) == "7"
    assert vlans.rows(NS) == [VlanRow("lan", mine.number)]


async def test_many_at_once_get_one_number_per_name(journal: Journal) -> None:
    vlans = Vlans(journal)
    found = await asyncio.gather(*(vlans.resolve(NS, f"n{number % 10}") for number in range(50)))
    assert len({(vlan.alias, vlan.number) for vlan in found}) == 10
    assert len({vlan.number for vlan in found}) == 10


async def test_range_is_used_up_without_reserved_numbers(journal: Journal) -> None:
    vlans = Vlans(journal, in_use=lambda: {11})
    await vlans.set_range(NS, "10", "13")
    assert [(await vlans.resolve(NS, name)).number for name in "ab"] == [10, 12]
    with pytest.raises(Unavailable, match=r"^out of VLANs$"):
        await vlans.resolve(NS, "c")
    high = Vlans(journal)
    await high.set_range(NS, "4094", "4096")
    await high.resolve(NS, "x")
    with pytest.raises(Unavailable, match=r"^out of VLANs$"):
        await high.resolve(NS, "y")  # 4095 is reserved


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        ("a", "9", "^expected integer values for min/max$"),
        ("9", "9", "^expected min > max$"),
        ("9", "8", "^expected min > max$"),
        ("9", "4097", "^invalid VLAN"),
        ("199", "201", "^range overlaps with another namespace: other$"),
    ],
)
async def test_bad_ranges(journal: Journal, low: str, high: str, text: str) -> None:
    vlans = Vlans(journal)
    await vlans.set_range("other", "200", "300")
    with pytest.raises(MegaError, match=text):
        await vlans.set_range("third", low, high)
    await vlans.set_range("third", "300", "301")  # half open: these only touch


async def test_ranges_of_others_are_left_alone(journal: Journal) -> None:
    vlans = Vlans(journal)
    await vlans.set_range("other", "101", "200")
    assert (await vlans.resolve(NS, "lan")).number == 200
    assert vlans.range_text("other") == "101-199"
    assert vlans.range_text("third") == ""
    assert vlans.range_row(NS) == RangeRow(101, 4095, 201)


@pytest.mark.parametrize(
    ("alias", "vlan", "text"),
    [
        ("lan", "500", "^alias already in use$"),
        ("new", "101", "^vlan already in use$"),
        ("new", "x", "^expected integer VLAN$"),
    ],
)
async def test_bad_additions(journal: Journal, alias: str, vlan: str, text: str) -> None:
    vlans = Vlans(journal)
    await vlans.resolve(NS, "lan")
    with pytest.raises(MegaError, match=text):
        await vlans.add(NS, alias, vlan)


async def test_everything_survives_and_clear_is_durable(journal: Journal) -> None:
    vlans = Vlans(journal)
    await vlans.set_range(NS, "20", "30")
    for name in ("web-a", "web-b", "db"):
        await vlans.resolve(NS, name)
    await vlans.blacklist(NS, "25")
    again = Vlans(journal)
    again.recover()
    assert again.rows(NS) == vlans.rows(NS)
    assert again.range_row(NS).min == 20
    assert again.blacklisted() == [25]
    await again.clear(NS, "web")
    assert [row.alias for row in again.rows(NS)] == ["db"]
    assert again.range_row(NS).min == 20
    await again.clear_all()
    third = Vlans(journal)
    third.recover()
    assert (third.rows(NS), third.blacklisted(), third.range_row(NS).min) == ([], [], 101)


async def test_a_number_taken_by_a_name_is_not_taken_again_after_clear(journal: Journal) -> None:
    vlans = Vlans(journal, in_use=lambda: {101})
    await vlans.add(NS, "lan", "101")
    await vlans.clear(NS)
    assert (await vlans.resolve(NS, "new")).number == 102


async def test_a_doubled_alias_is_an_error_of_its_kind(journal: Journal) -> None:
    vlans = Vlans(journal)
    await vlans.add(NS, "lan", "7")
    with pytest.raises(AlreadyExists):
        await vlans.add(NS, "lan", "7")
