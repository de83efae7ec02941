"""Handlers are checked when they are declared (R3); the registry describes itself (spec B.1)."""

import json
from collections.abc import Awaitable, Callable
from typing import NoReturn

import pytest

from megatools.hostkit.errors import MegaError
from megatools.minimega.lang.call import Call, Invocation, Reply
from megatools.minimega.lang.match import InvalidCommand
from megatools.minimega.lang.pattern import BadPattern
from megatools.minimega.lang.registry import Family, Registry
from megatools.minimega.lang.signature import BadHandler
from tests.unit.minimega.lang.language import family as test_family


async def nothing(call: Call[object]) -> Reply: ...
async def string(call: Call[object], a: str) -> Reply: ...
async def maybe(call: Call[object], a: str | None) -> Reply: ...
async def default(call: Call[object], a: str = "") -> Reply: ...
async def words(call: Call[object], a: tuple[str, ...]) -> Reply: ...
async def flags(call: Call[object], b: bool, c: bool) -> Reply: ...
async def nested(call: Call[object], command: Invocation) -> Reply: ...
async def anything(call: Call[object], **arguments: object) -> Reply: ...
async def number(call: Call[object], a: int) -> Reply: ...
async def unknown(call: Call[object], a: "Gone") -> Reply: ...  # noqa: F821 it must not resolve
async def bare(*, a: str) -> Reply: ...
def plain(call: Call[object]) -> NoReturn:
    raise NotImplementedError


GOOD = [
    (nothing, ["x"]),
    (string, ["x <a>", "y <a>"]),
    (maybe, ["x [a]", "x"]),
    (default, ["x [a]", "x <a> y"]),
    (words, ["x [a]...", "y <a>..."]),
    (flags, ["x <b,c>", "x"]),
    (nested, ["x (command)"]),
    (anything, ["x <a> [b]", "y <b,c>"]),
]
BAD = [
    (string, ["x"], "which none of its patterns holds"),
    (nothing, ["x <a>"], "does not take 'a'"),
    (string, ["x [a]"], "needs a default"),
    (string, ["x <a>", "x"], "needs a default"),
    (string, ["x <a>..."], "is 'str', not 'tuple"),
    (words, ["x <a>"], "not 'str'"),
    (number, ["x <a>"], "not 'str'"),
    (nested, ["x <command>"], "not 'str'"),
    (anything, [], "has no pattern"),
    (default, ["x <a>", "x [a]..."], "means different things|not"),
    (unknown, ["x <a>"], "cannot be resolved"),
    (bare, ["x <a>"], "takes no call"),
    (plain, ["x"], "not an async function"),
]


@pytest.mark.parametrize(("handler", "patterns"), GOOD)
def test_handlers_that_fit(handler: Callable[..., Awaitable[Reply]], patterns: list[str]) -> None:
    family: Family[object] = Family("f", "F")
    family.add(patterns, handler, "help")
    assert Registry([family]).commands()[0].handler is handler


@pytest.mark.parametrize(("handler", "patterns", "message"), BAD)
def test_handlers_that_do_not_fit(handler: Callable[..., Awaitable[Reply]], patterns: list[str], message: str) -> None:
    family: Family[object] = Family("f", "F")
    with pytest.raises(BadHandler, match=message):
        family.add(patterns, handler, "help")


def test_a_command_needs_help() -> None:
    family: Family[object] = Family("f", "F")
    with pytest.raises(BadHandler, match="has no help"):
        family.command("x")(nothing)


def test_contradicting_families_are_refused() -> None:
    one: Family[object] = Family("one", "")
    two: Family[object] = Family("two", "")
    one.add(["x [a]"], maybe, "help")
    two.add(["x"], nothing, "help")
    with pytest.raises(BadPattern, match=r"conflicting handlers: 'x \[a\]' and 'x'"):
        Registry([one, two])


def test_api() -> None:
    described = json.loads(Registry([test_family]).api())
    first = described[0]
    assert first == {
        "help_short": "List virtual machines",
        "help_long": "All of them.",
        "patterns": ["vm info [summary,]"],
        "shared_prefix": "vm info",
        "parsed_patterns": [
            [
                {"type": 2, "key": "", "text": "vm", "options": []},
                {"type": 2, "key": "", "text": "info", "options": []},
                {"type": 17, "key": "", "text": "", "options": ["summary"]},
            ]
        ],
    }
    prefixes = {entry["patterns"][0]: entry["shared_prefix"] for entry in described}
    assert prefixes["vm config memory [value]"] == "vm config"
    assert prefixes["namespace [name]"] == "namespace"


def test_manual() -> None:
    text = Registry([test_family]).manual()
    assert "## Test commands" in text
    assert "### vm info\n\nList virtual machines.\n\n```\nvm info [summary]\n```\n\nAll of them." in text


def test_invalid_commands_name_the_text() -> None:
    with pytest.raises(InvalidCommand) as caught:
        Registry([test_family]).match(["vm", "gone"], " vm gone ")
    assert caught.value.message == "invalid command: `vm gone`"
    assert isinstance(caught.value, MegaError)
