"""Patterns parse into the items of spec B.1, and malformed ones are refused at import."""

import pytest

from megatools.minimega.lang.pattern import BadPattern, Item, Kind, parameter, parse_pattern

ITEMS = [
    ("vm info", [Item(Kind.LITERAL, text="vm"), Item(Kind.LITERAL, text="info")]),
    ("<name>", [Item(Kind.STRING, "name", "name")]),
    ("<name free text>", [Item(Kind.STRING, "name", "name free text")]),
    ("[name]", [Item(Kind.STRING | Kind.OPTIONAL, "name", "name")]),
    ("<a,b,c>", [Item(Kind.CHOICE, options=("a", "b", "c"))]),
    ("<a,>", [Item(Kind.CHOICE, options=("a",))]),
    ("[a,b]", [Item(Kind.CHOICE | Kind.OPTIONAL, options=("a", "b"))]),
    ("<x>...", [Item(Kind.LIST, "x", "x")]),
    ("[x y]...", [Item(Kind.LIST | Kind.OPTIONAL, "x", "x y")]),
    ("(command)", [Item(Kind.COMMAND, "command", "command")]),
]


@pytest.mark.parametrize(("text", "items"), ITEMS)
def test_items(text: str, items: list[Item]) -> None:
    assert list(parse_pattern(text).items) == items


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "[]",
        "()",
        "a <b",
        "a b>",
        "a [b] c",
        "a <b>... c",
        "a (command) b",
        "a [b]...[c]",
        "<a b,c>",
        "<a,b>...",
        "<,>",
        "a <[b]>",
        "<a>..",
        "a...",
        "(command)...",
        "(some command)",
        'say "hi"',
        "it's",
        "<a> <a>",
        "<a,b> <b>",
    ],
)
def test_malformed_patterns_are_refused(text: str) -> None:
    with pytest.raises(BadPattern):
        parse_pattern(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("vm info [summary,]", "vm info [summary]"), ("a <b,> <c,d>", "a b <c,d>"), ("e [f]... ", "e [f]...")],
)
def test_help_prints_a_single_option_bare(text: str, shown: str) -> None:
    assert str(parse_pattern(text)) == shown


@pytest.mark.parametrize(
    ("key", "name"), [("qemu-append", "qemu_append"), ("from", "from_"), ("1.1", "_1_1"), ("true", "true")]
)
def test_keys_become_parameters(key: str, name: str) -> None:
    assert parameter(key) == name


def test_prefix_is_the_leading_literals() -> None:
    assert parse_pattern("vm launch kvm <name> [config]").prefix == ("vm", "launch", "kvm")
