"""Rendering of groups (spec B.6)."""

import json

import msgspec
import pytest

from megatools.hostkit.table import layout
from megatools.minimega.lang.answer import Response
from megatools.minimega.lang.options import Options
from megatools.minimega.lang.render import error_lines, render

DEFAULT = Options()
TABLE = Response("kn1", header=["id", "name"], tabular=[["10", "b"], ["9", "a"]])


def test_table_layout() -> None:
    assert layout([["id", "name", "note"], ["1", "a", ""], ["2", "longer", "x"]]) == (
        "id   | name   | note\n1    | a      | \n2    | longer | x"
    )


def test_a_table_is_annotated_sorted_and_headed() -> None:
    assert render([TABLE], DEFAULT) == "host | id | name\nkn1  | 9  | a\nkn1  | 10 | b"
    assert render([TABLE], DEFAULT.put("annotate", False)) == "id   | name\n9    | a\n10   | b"
    assert render([TABLE], DEFAULT.put("annotate", False).put("sort", False)) == "id   | name\n10   | b\n9    | a"
    assert render([TABLE], DEFAULT.put("headers", False)) == "kn1  | 9  | a\nkn1  | 10 | b"


def test_only_the_last_line_loses_its_trailing_space() -> None:
    group = [Response("h", header=["name", "v"], tabular=[["a", ""], ["b", ""]])]
    assert render(group, DEFAULT.put("annotate", False)) == "name | v\na    | \nb    |"


def test_tables_of_several_hosts_merge() -> None:
    other = Response("kn2", header=["id", "name"], tabular=[["1", "z"]])
    assert render([other, TABLE], DEFAULT) == "host | id | name\nkn1  | 9  | a\nkn1  | 10 | b\nkn2  | 1  | z"


def test_an_empty_table_prints_nothing() -> None:
    assert render([Response("h", header=["id"], tabular=[])], DEFAULT) == ""
    assert render([Response("h", header=["id"])], DEFAULT) == ""


def test_csv_quotes() -> None:
    group = [Response("h", header=["a", "b"], tabular=[['say "x"', "1,2"], ["l\nm", ""]])]
    assert render(group, DEFAULT.put("csv", True).put("annotate", False).put("sort", False)) == (
        'a,b\n"say ""x""","1,2"\n"l\nm",'
    )
    assert render([Response("h", "text")], DEFAULT.put("csv", True)) == "h: text"


def test_json_has_go_names_and_nulls() -> None:
    text = render(
        [Response("h", "x", data=msgspec.Raw(b'{"a":1}')), Response("i", error="e")], DEFAULT.put("json", True)
    )
    assert json.loads(text) == [
        {"Host": "h", "Response": "x", "Header": None, "Tabular": None, "Error": "", "Data": {"a": 1}},
        {"Host": "i", "Response": "", "Header": None, "Tabular": None, "Error": "e", "Data": None},
    ]
    assert list(json.loads(text)[0]) == ["Host", "Response", "Header", "Tabular", "Error", "Data"]


def test_csv_and_json_exclude_each_other() -> None:
    options = DEFAULT.put("csv", True).put("json", True)
    assert (options.csv, options.json) == (False, True)
    options = options.put("csv", True)
    assert (options.csv, options.json) == (True, False)


def test_equal_texts_are_merged_with_host_ranges() -> None:
    group = [Response(f"kn{n}", "same") for n in (1, 2, 3, 9)] + [Response("kn5", "other")]
    assert render(group, DEFAULT) == "kn5: other\nkn[1-3,9]: same"
    plain = render(group, DEFAULT.put("compress", False))
    assert plain.splitlines() == ["kn1: same", "kn2: same", "kn3: same", "kn9: same", "kn5: other"]
    assert render(group[:2], DEFAULT.put("annotate", False)) == "same"


def test_texts() -> None:
    assert render([Response("h", " text \n")], DEFAULT) == "h:  text"
    assert render([Response("h", "text")], DEFAULT.put("annotate", False)) == "text"
    assert render([Response("h"), Response("i", error="e")], DEFAULT) == ""
    assert render([Response("h", "out", error="exit status 1")], DEFAULT) == "h: out"
    assert render([], DEFAULT) == ""


@pytest.mark.parametrize(
    ("group", "text"),
    [
        ([TABLE, Response("kn2", header=["id"], tabular=[["1"]])], "header mismatch, hosts: kn1, kn2"),
        (
            [Response("kn1", header=["id", "x"], tabular=[["1", "2"], ["1"]])],
            "tabular width mismatch, host: kn1, row: 1",
        ),
        ([TABLE, Response("kn2", "text")], "responses mix simple and tabular data"),
    ],
)
def test_answers_that_do_not_fit_together(group: list[Response], text: str) -> None:
    assert render(group, DEFAULT) == text


def test_a_failed_host_does_not_hide_the_others() -> None:
    group = [TABLE, Response("kn2", error="lost")]
    assert render(group, DEFAULT) == render([TABLE], DEFAULT)
    assert error_lines(group) == ["Error (kn2): lost"]
