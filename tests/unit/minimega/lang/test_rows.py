"""Filters, columns and sorting (spec B.5, B.6, D.24)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.lang.answer import Response
from megatools.minimega.lang.rows import (
    choose_columns,
    filter_group,
    parse_filter,
    resolve_column,
    sort_rows,
)

HEADER = ["id", "name", "state", "vlan", "tags", "ip", "ip6", "Host_Name"]
ROWS = [
    ["0", "web", "RUNNING", "[lan (101)]", "{}", "[10.0.0.2]", "[]", "x"],
    ["1", "db", "PAUSED", "[wan (102), lan (101)]", '{"a":"b=c"}', "[10.0.0.3]", "[]", "y=z=~!"],
    ["10", "Web2", "RUNNING", "[]", "{}", "[]", "[]", ""],
]
GROUP = [Response("kn1", header=HEADER, tabular=ROWS), Response("kn2", "text"), Response("kn3", error="broken")]


def names(condition: str) -> list[str]:
    rows = filter_group(GROUP, parse_filter(condition))[0].tabular
    assert rows is not None
    return [row[1] for row in rows]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("state=running", ["web", "Web2"]),
        ("STATE=Running", ["web", "Web2"]),
        ("state!=running", ["db"]),
        ("name~WEB", ["web", "Web2"]),
        ("name!~web", ["db"]),
        ("vlan=lan", ["web", "db"]),
        ("vlan!=lan", ["Web2"]),
        ("na=db", ["db"]),
        ("ip=10.0.0.3", ["db"]),
        ("tags~b=c", ["db"]),
        ("host_name=y=z=~!", ["db"]),
        ("ho=", ["Web2"]),
        ("id=1", ["db"]),
        ("id=11", []),
    ],
)
def test_filter(condition: str, expected: list[str]) -> None:
    assert names(condition) == expected


def test_what_has_no_table_passes() -> None:
    assert filter_group(GROUP, parse_filter("name=nobody"))[1:] == GROUP[1:]
    headed = [Response("kn1", header=HEADER)]
    assert filter_group(headed, parse_filter("nonsense=1")) == headed


def test_host_filters_whole_responses() -> None:
    assert filter_group(GROUP, parse_filter("host=KN2")) == [GROUP[1]]
    assert filter_group(GROUP, parse_filter("host!~2")) == [GROUP[0], GROUP[2]]
    assert filter_group(GROUP, parse_filter("host=nobody")) == []


@pytest.mark.parametrize("text", ["", "name", "=x", "!x", "a!b", " =x", "~"])
def test_invalid_filters(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text)
    assert caught.value.message == "invalid filter, see help"


@pytest.mark.parametrize(("name", "index"), [("id", 0), ("IP", 5), ("ip6", 6), ("st", 2), ("host_name", 7), ("H", 7)])
def test_columns_resolve(name: str, index: int) -> None:
    assert resolve_column(name, HEADER) == index


@pytest.mark.parametrize(
    ("name", "message"), [("i", "ambiguous column `i`"), ("zz", "no such column `zz`"), ("", "ambiguous column ``")]
)
def test_columns_that_do_not_resolve(name: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        resolve_column(name, HEADER)
    assert caught.value.message == message


def test_columns() -> None:
    chosen = choose_columns(GROUP, ["NAME", "st", "id"])
    assert chosen[0].header == ["name", "state", "id"]
    assert chosen[0].tabular == [["web", "RUNNING", "0"], ["db", "PAUSED", "1"], ["Web2", "RUNNING", "10"]]
    assert chosen[1:] == GROUP[1:]
    assert choose_columns([Response("a", header=HEADER)], ["id"]) == [Response("a", header=["id"])]


def test_sorting_is_numeric_when_both_cells_are_integers() -> None:
    assert sort_rows([["10", "a"], ["9", "b"], ["-1", "c"]]) == [["-1", "c"], ["9", "b"], ["10", "a"]]
    assert sort_rows([["x", "10"], ["x", "9"], ["B", "z"]]) == [["B", "z"], ["x", "9"], ["x", "10"]]


CELL = st.sampled_from(["", "1", "02", "2", "10", "a", "B", "[x, y]", "9" * 40])


@given(st.lists(st.tuples(CELL, CELL).map(list), max_size=8))
def test_sorting_keeps_every_row(rows: list[list[str]]) -> None:
    assert sorted(sort_rows(list(rows))) == sorted(rows)


@given(st.sampled_from(["=", "!=", "~", "!~"]), st.text(max_size=6))
def test_a_filter_and_its_negation_share_the_rows(operator: str, value: str) -> None:
    opposite = operator[1:] if operator.startswith("!") else f"!{operator}"
    assert sorted(names(f"name{operator}{value}") + names(f"name{opposite}{value}")) == sorted(row[1] for row in ROWS)
