"""Words, quotes, escapes and comments (spec B.2); quoting is the lexer's inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.lang.lexer import MAX_CHUNKS, lex, lex_unfinished
from megatools.minimega.lang.quote import command_line, join_words, quote

LINES = [
    ("", ()),
    ("   \t ", ()),
    ("vm info", ("vm", "info")),
    ("  vm\t\u2003info  ", ("vm", "info")),
    ('a"b c"d', ("ab cd",)),
    ("'a b' \"c d\"", ("a b", "c d")),
    ('say ""', ("say", "")),
    (r"a\nb \t \\ \" \' \#x \r", ("a\nb", "\t", "\\", '"', "'", "#x", "\r")),
    (r'"a\"b" ' + r"'c\'d\n'", ('a"b', "c'd\n")),
    ("test#x y", ("test",)),
    ("test '#x' y # z \\q", ("test", "#x", "y")),
    ("# all of it", ()),
    ("\"it's\" '\"'", ("it's", '"')),
]


@pytest.mark.parametrize(("line", "words"), LINES)
def test_lines(line: str, words: tuple[str, ...]) -> None:
    assert lex(line) == words


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (r"a \q", "unexpected escaped character: q"),
        (r"'a \q'", "unexpected escaped character: q"),
        ("a \\", "expected escape character"),
        ('a "b', 'missing terminal "'),
        ("a 'b", "missing terminal '"),
    ],
)
def test_errors(line: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        lex(line)
    assert caught.value.message == message


@given(st.lists(st.text()))
def test_quoted_words_lex_to_themselves(words: list[str]) -> None:
    assert lex(join_words(words)) == tuple(words)


@given(st.text(alphabet="ab \t\"'\\#nr\u00a0"))
def test_the_lexer_raises_nothing_else(line: str) -> None:
    try:
        words = lex(line)
    except InvalidInput:
        return
    assert lex(join_words(words)) == words


@pytest.mark.parametrize(
    ("word", "quoted"), [("a", "a"), ("", '""'), ("a b", '"a b"'), ('a"b', '"a\\"b"'), ("$X", "$X")]
)
def test_quote(word: str, quoted: str) -> None:
    assert quote(word) == quoted


def test_one_word_of_e_is_a_complete_line() -> None:
    assert command_line(["vm info"]) == "vm info"
    assert command_line(["echo", "a b", "c"]) == 'echo "a b" c'


def test_a_line_has_a_limit_of_quotes_but_hardly_one_of_length() -> None:
    assert lex("echo '" + "x" * 4_000_000 + "'")[1] == "x" * 4_000_000
    with pytest.raises(InvalidInput, match=f"limit of {MAX_CHUNKS}"):
        lex("\\n" * MAX_CHUNKS)


def test_unfinished_lines() -> None:
    begun = lex_unfinished("vm start 'a b")
    assert begun is not None
    assert (begun.words, begun.last) == (("vm", "start"), "a b")
    assert lex_unfinished("vm # x") is None
    assert lex_unfinished("vm \\q") is None
