"""Abbreviation, exactness, ambiguity and nesting (spec B.3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import MegaError
from megatools.minimega.lang.call import Invocation
from megatools.minimega.lang.match import MAX_NESTING, NoMatch, match
from megatools.minimega.lang.pattern import BadPattern, parse_pattern
from megatools.minimega.lang.trie import Trie

PATTERNS = [
    "vm info [summary,]",
    "vm launch <kvm,container> <name or count> [config]",
    "vm config",
    "vm config qemu [value]",
    "vm config qemu-append [value]...",
    "vm config qemu-override <match> <replacement>",
    "vm config networks [netspec]...",
    "vm config snapshot [true,false]",
    "vm config serial-ports [number]",
    "vm tag <vm target> [key]",
    "vm tag <vm target> <key> <value>",
    "vm hotplug add <target> <file> [1.1,2.0]",
    "vm hotplug add <target> <file> <serial,> <number>",
    ".annotate [true,false]",
    ".annotate <true,false> (command)",
    ".filter <filter> (command)",
    "namespace [name]",
    "namespace <name> (command)",
    "echo [words]...",
    "history",
    "host [field]",
    "log level [debug,info]",
    "tap create <vlan>",
    "tap create <vlan> <dhcp,>",
    "tap create <vlan> ip <address>",
    "word <any>",
    "word special",
]
CLASSIC = ["vm_info [words]...", "host_tap [words]...", "clear vm_net"]


def trie() -> Trie:
    tree = Trie()
    for number, text in enumerate(PATTERNS + CLASSIC):
        tree.add(parse_pattern(text), number, number, exact=text in CLASSIC)
    return tree


TREE = trie()


def parsed(line: str) -> tuple[str, dict[str, object]] | None:
    found = match(TREE, line.split())
    return (found.pattern, dict(found.arguments)) if isinstance(found, Invocation) else None


MATCHES = [
    ("vm info", ("vm info [summary,]", {})),
    ("vm inf s", ("vm info [summary,]", {"summary": True})),
    ("v l k 2", ("vm launch <kvm,container> <name or count> [config]", {"kvm": True, "name": "2"})),
    ("vm config", ("vm config", {})),
    ("vm config qemu", ("vm config qemu [value]", {})),
    ("vm config qemu x", ("vm config qemu [value]", {"value": "x"})),
    ("vm config qemu-a x y", ("vm config qemu-append [value]...", {"value": ("x", "y")})),
    ("vm config net", ("vm config networks [netspec]...", {})),
    ("vm config net a b", ("vm config networks [netspec]...", {"netspec": ("a", "b")})),
    ("vm tag foo", ("vm tag <vm target> [key]", {"vm": "foo"})),
    ("vm tag foo k v", ("vm tag <vm target> <key> <value>", {"vm": "foo", "key": "k", "value": "v"})),
    ("vm hotplug add t f 2", ("vm hotplug add <target> <file> [1.1,2.0]", {"target": "t", "file": "f", "2.0": True})),
    ("vm_info state=running", ("vm_info [words]...", {"words": ("state=running",)})),
    ("clear vm_net", ("clear vm_net", {})),
    ("tap create 1 ip 10.0.0.1/24", ("tap create <vlan> ip <address>", {"vlan": "1", "address": "10.0.0.1/24"})),
    ("word special", ("word special", {})),
    ("word spec", ("word <any>", {"any": "spec"})),
    ("echo", ("echo [words]...", {})),
    (".an f", (".annotate [true,false]", {"false": True})),
]


@pytest.mark.parametrize(("line", "expected"), MATCHES)
def test_matches(line: str, expected: tuple[str, dict[str, object]]) -> None:
    assert parsed(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "vm config s",
        "h",
        "vm",
        "vm info x",
        "VM info",
        "vm launch kvm",
        "vm_i",
        "host_ta",
        "echo2",
        "vm config qemu-o x",
        "x",
    ],
)
def test_no_match(line: str) -> None:
    assert parsed(line) is None


def test_an_empty_word_is_a_prefix_of_anything() -> None:
    found = match(TREE, ["vm", "info", ""])
    assert isinstance(found, Invocation)
    assert found.arguments == {"summary": True}


def test_ambiguity_names_the_possibilities() -> None:
    found = match(TREE, ["h"])
    assert isinstance(found, NoMatch)
    assert {TREE.patterns[number].text for number in found.ambiguous} == {"history", "host [field]"}


def test_nested_commands_nest() -> None:
    found = match(TREE, ["namespace", "foo", ".filter", "a=b", "vm", "inf"])
    assert isinstance(found, Invocation)
    assert found.text == "namespace foo .filter a=b vm info"
    inner = found.nested
    assert inner is not None
    assert inner.nested is not None
    assert inner.nested.pattern == "vm info [summary,]"
    assert inner.text == ".filter a=b vm info"


def test_nesting_has_a_limit() -> None:
    found = match(TREE, [".annotate", "true"] * (MAX_NESTING + 1) + ["vm", "info"])
    assert isinstance(found, NoMatch)
    assert found.too_deep
    assert isinstance(match(TREE, [".annotate", "true"] * MAX_NESTING + ["vm", "info"]), Invocation)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("foo <a>", "foo <b>"),
        ("foo bar", "foo bar"),
        ("foo [a]", "foo"),
        ("foo [a]...", "foo <b> <c>"),
        ("foo <a>...", "foo (command)"),
        ("foo <a,b> <c>", "foo a <d>"),
        ("foo <a> [b]", "foo <c>"),
    ],
)
def test_commands_that_contradict_each_other_are_refused(one: str, other: str) -> None:
    tree = Trie()
    with pytest.raises(BadPattern, match="conflicting handlers"):
        for number, text in enumerate((one, other)):
            tree.add(parse_pattern(text), number, number, exact=False)
        tree.validate()


def test_the_test_grammar_is_valid() -> None:
    TREE.validate()


WORD = st.sampled_from(
    "vm v info config qemu qemu-append .annotate true t .filter a=b namespace echo word special tag 1 h".split()
)


@given(st.lists(WORD | st.text(max_size=5), max_size=80))
def test_the_matcher_never_raises_anything_else(words: list[str]) -> None:
    try:
        found = match(TREE, words)
    except MegaError:
        return
    if isinstance(found, Invocation):
        again = match(TREE, found.words)
        assert isinstance(again, Invocation), "canonical words match again"
        assert again == found
