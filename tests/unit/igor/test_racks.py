"""The rack diagrams, character for character as the document draws them, and the words of times."""

from datetime import UTC, datetime

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.igor.api.requests import Overview
from megatools.igor.cli import overview as page
from megatools.igor.cli import words
from megatools.igor.cli.gantt import chart
from megatools.igor.cli.racks import diagram
from megatools.igor.model import nodes
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.reservation import Reservation, ReservationId, State

_RACK = """\
---------------------------------
|281|282|283|284|285|286|287|288|
|289|290|291|292|293|294|295|296|
|297|298|299|300|301|302|303|304|
|305|306|307|308|309|310|311|312|
|313|314|315|316|317|318|319|320|
---------------------------------
"""
_KN = Cluster("kn", 1, 520, 8, 5)
_NOW = 1_800_000_000


def test_the_documents_rack() -> None:
    drawn = diagram(_KN, {})
    assert _RACK in drawn
    assert drawn.startswith("---------------------------------\n|  1|  2|  3|")
    assert drawn.count("-" * 33) == 26, "13 racks with two borders each"
    assert drawn.endswith("|513|514|515|516|517|518|519|520|\n" + "-" * 33 + "\n")


def test_four_servers_in_one_rack() -> None:
    assert diagram(Cluster("s", 1, 4, 1, 4), {}) == "---\n|1|\n|2|\n|3|\n|4|\n---\n"


def test_cells_beyond_the_end_are_blank_and_rows_begin_at_the_start() -> None:
    assert diagram(Cluster("s", 5, 11, 3, 2), {}) == (
        "----------\n| 5| 6| 7|\n| 8| 9|10|\n----------\n\n----------\n|11|  |  |\n----------\n"
    )


def test_painting_changes_no_cell_but_its_own() -> None:
    drawn = diagram(Cluster("s", 1, 4, 2, 2), {2: "\x1b[41m"})
    assert drawn == "-----\n|1|\x1b[41m2\x1b[0m|\n|3|4|\n-----\n"


def _reservation(name: str, start_s: int, end_s: int, state: State = State.ACTIVE) -> Reservation:
    return Reservation(ReservationId(1), name, "alice", "", nodes.of(range(1, 11)), start_s, end_s, state)


def _overview(*reservations: Reservation) -> Overview:
    return Overview(_KN, _NOW, "alice", reservations, down="20-21")


def test_the_table() -> None:
    rows = [
        _reservation("testing", _NOW, _NOW + 12 * 3600),
        _reservation("old", _NOW - 7200, _NOW - 5400),
        _reservation("later", _NOW + 1800, _NOW + 5400, State.PLANNED),
    ]
    text = page.text_of(_overview(*rows), colours=False, racks=False)
    assert text.splitlines() == [
        "NAME     OWNER  TIME LEFT         NODES",
        "-" * 80,
        "DOWN     N/A    N/A               kn[20-21]",
        "testing  alice  12.0              kn[1-10]",
        "old      alice  -1.5 (fair game)  kn[1-10]",
        "later    alice  starts in 0.5     kn[1-10]",
    ]


def test_colours_show_mine_down_and_others() -> None:
    text = page.text_of(_overview(_reservation("testing", _NOW, _NOW + 60)), colours=True)
    assert "\x1b[30;42m  1\x1b[0m" in text
    assert "\x1b[37;41m 20\x1b[0m" in text
    assert "|300|" in text, "a free cell has no colour"


def test_the_chart_shows_now_and_later() -> None:
    rows = [_reservation("a", _NOW, _NOW + 86400), _reservation("b", _NOW + 86400, _NOW + 2 * 86400, State.PLANNED)]
    lines = chart(_overview(*rows), days=4, width=60, colours=False).splitlines()
    first, second = (line[line.index("|") + 1 : line.rindex("|")] for line in lines[1:3])
    assert first.strip(" ") == "#" * first.count("#")
    assert abs(first.count("#") - len(first) // 4) <= 1
    assert abs(second.index("=") - len(second) // 4) <= 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12", 43200), ("1.5", 5400), ("90m", 5400), ("4d6h", 367200), ("2w", 1209600), ("1h30m", 5400), ("30s", 30)],
)
def test_durations(text: str, seconds: int) -> None:
    assert words.duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-3", "0", "1y", "1h 30", "h", "1e9", "9999999w", "inf", "nan"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(InvalidInput):
        words.duration_s(text)


def test_moments() -> None:
    now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    assert words.moment_s("+3h", now) == now.timestamp() + 10800
    local = datetime(2026, 12, 1, 18, 30).astimezone().timestamp()
    assert words.moment_s("2026-12-01 18:30", now) == local == words.moment_s("2026-Dec-1-18:30", now)
    assert 0 <= words.moment_s("18:30", now) - now.timestamp() <= 86400
    with pytest.raises(InvalidInput, match="is not a time"):
        words.moment_s("tomorrow", now)
