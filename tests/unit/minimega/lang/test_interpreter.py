"""Whole lines through the interpreter: modifiers, nesting, errors, aliases, history (spec B.3-B.7)."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.minimega.lang.language import Language

TABLE = "host | id | name | state\nkn1  | 9  | db   | PAUSED\nkn1  | 10 | web  | RUNNING"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("vm info", TABLE),
        ("vm i", TABLE),
        (".csv true vm info", "host,id,name,state\nkn1,9,db,PAUSED\nkn1,10,web,RUNNING"),
        (".json true data", '[{"Host":"kn1","Response":"text","Header":null,"Tabular":null,"Error":"","Data":null}]'),
        (".annotate false .columns NAME,id vm info", "name | id\ndb   | 9\nweb  | 10"),
        (".annotate false .headers false .sort false vm info", "10   | web | RUNNING\n9    | db  | PAUSED"),
        (".annotate false .columns name .filter state=running vm info", "name\nweb"),
        (".columns id,name namespace foo .annotate false vm info", "id   | name\n9    | db\n10   | web"),
        (".csv true .csv false vm info", TABLE),
        (".filter name=nobody vm info", ""),
        (".filter host=kn2 everywhere", "kn2: here\n"),
        ("everywhere", "kn[1-2]: here\nkn1: done"),
        (".compress false everywhere", "kn1: here\nkn2: here\nkn1: done"),
        ("echo a 'b  c' # d", "kn1: a b  c"),
        ("echo", ""),
        ("namespace", "kn1: minimega"),
        ("namespace foo namespace", "kn1: foo"),
        (".csv", "kn1: false"),
        (".annotate", "kn1: true"),
        ("echo $NAME ${NAME}x $UNSET. $5", "kn1: web webx . "),
        (".preprocess false echo $NAME", "kn1: $NAME"),
        ("vm config memory $NAME", "kn1: {'value': '$NAME'}"),
        ("vm config append a b", "kn1: {'value': ('a', 'b')}"),
        (".env NAME", "kn1: web"),
        (".annotate false .env", "key  | value\nHOME | /root\nNAME | web"),
    ],
)
def test_lines(line: str, text: str) -> None:
    assert Language().text(line).rstrip() == text.rstrip()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("vm inof", "invalid command: `vm inof`\nhint: did you mean `vm info`?"),
        ("vm_info", "invalid command: `vm_info`\nhint: did you mean `vm info`?"),
        ("vm start", "invalid command: `vm start`\nhint: usage: `vm start <vm target>`"),
        ("vm config memroy 5", "invalid command: `vm config memroy 5`\nhint: did you mean `vm config memory`?"),
        (".filter a=b vm inof", "invalid command: `.filter a=b vm inof`\nhint: did you mean `vm info`?"),
        (".filt a=b vm inof", "invalid command: `.filt a=b vm inof`\nhint: did you mean `vm info`?"),
        ("n foo vm inof", "invalid command: `n foo vm inof`\nhint: did you mean `vm info`?"),
        ("h", "invalid command: `h`\nhint: ambiguous, could be `help [command]...`, `history`"),
        ("nonsense", "invalid command: `nonsense`\nhint: `help` lists the commands"),
        ("echo 'x", "missing terminal '\nhint: write a quote that opens no text as `\\\"` or `\\'`"),
        ("vm start broken", "vm 'broken' is broken\nhint: mend it"),
        ("namespace foo vm start broken", "vm 'broken' is broken\nhint: mend it"),
        ("old broken", "vm 'broken' is broken\nhint: mend it"),
        (
            ".filter name vm info",
            "invalid filter, see help\nhint: write `column=value`, `!=`, `~` or `!~`, for example state=running",
        ),
        (".filter state=running .col name vm info", "no such column `state`\nhint: the columns are name"),
        (".filter x=1 vm info", "no such column `x`\nhint: the columns are id, name, state"),
        (".alias foo", "expected alias of format `alias=expansion`\nhint: .alias vmr=.filter state=running vm info"),
        ("help nonsense", "no help entry for `nonsense`\nhint: `help` lists the commands"),
        ("read /nonexistent", "script '/nonexistent' does not exist\nhint: give the path of a file on this host"),
        ("echo file:gone", "file 'gone' is not in the file directory\nhint: put it in /nonexistent"),
        ("echo http://localhost/", "get /: file not found"),
        ("everywhere", "lost"),
    ],
)
def test_errors(line: str, error: str) -> None:
    assert Language().errors(line) == [error]


def test_a_bug_is_one_line_for_the_user_and_a_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert Language().errors("vm start bug") == ["internal error: KeyError: 'surprise'; see the log"]
    assert "Traceback" in caplog.text


def test_blank_lines_and_comments_yield_nothing() -> None:
    language = Language()
    assert [language.outputs(line) for line in ("", "   ", "# comment")] == [[], [], []]
    assert language.history == ["# comment"]


def test_a_nested_command_runs_in_its_namespace_only() -> None:
    language = Language()
    language.outputs("namespace foo vm start a")
    language.outputs("vm start b")
    language.outputs("namespace bar")
    language.outputs("old c")
    assert language.log == ["start a in foo", "start b in minimega", "start c in bar"]
    assert language.progress == ["starting a", "starting b", "starting c"]


def test_global_modifiers() -> None:
    language = Language()
    assert language.text(".annotate false") == ""
    assert language.text("data") == "text"
    assert language.text(".annotate true data") == "kn1: text"
    assert language.text(".annotate") == "false"
    language.outputs(".csv true")
    assert language.text("vm info summary") == "id,name\n9,db\n10,web"
    language.outputs(".json true")
    assert language.text(".json false .csv") == "false", "json switched csv off"


def test_aliases_expand_the_first_word_once() -> None:
    language = Language()
    language.outputs(".alias vmr=.filter state=running .annotate false vm")
    language.outputs(".alias echo=echo echo")
    assert language.text("vmr info") == "id   | name | state\n10   | web  | RUNNING"
    assert language.text("echo x") == "kn1: echo x"
    assert language.text("  echo") == "kn1: echo"
    assert language.text(".annotate false .alias").splitlines()[0] == "alias | expansion"
    assert language.text(".unalias nobody") == ""
    language.outputs(".unalias echo")
    assert language.text("echo x") == "kn1: x"
    assert Language(source="internal").errors("vmr info") != []


def test_aliases_do_not_touch_scripts_or_nested_commands() -> None:
    language = Language()
    language.outputs(".alias greet=echo hello")
    assert language.text("greet") == "kn1: hello"
    assert language.errors(".annotate false greet") != []
    language.session.source = "script"
    assert language.errors("greet") != []


def test_an_alias_keeps_its_quotes() -> None:
    language = Language()
    language.outputs(".alias one='echo two  words'")
    language.outputs('.alias two=echo "two  words"')
    assert language.text("one") == "kn1: two words"
    assert language.text("two") == "kn1: two  words"


def test_environment() -> None:
    language = Language()
    language.outputs(".env COLOUR 'dark blue'")
    assert language.text("echo $COLOUR") == "kn1: dark blue"
    language.outputs('.env COLOUR ""')
    assert "COLOUR" not in language.environment


def test_history_records_what_was_typed() -> None:
    language = Language()
    recorded = ["vm inf  # note", "vm start broken", ".csv true vm info", "namespace foo vm start x", "# comment"]
    unrecorded = ["vm inof", "", "history", "help", ".record false vm info", "clear history # not this either"]
    language.outputs("clear history")
    for line in recorded + unrecorded[:-1]:
        language.outputs(f"  {line}  ")
    assert language.history == recorded
    assert language.text(".annotate false history") == "\n".join(recorded)
    language.outputs(unrecorded[-1])
    assert language.history == []


def test_recording_can_be_switched_off() -> None:
    language = Language()
    for line in ("vm info", ".record false", "vm info summary", ".record true", "data"):
        language.outputs(line)
    assert language.history == ["vm info", ".record true", "data"]


def test_internal_commands_are_not_recorded() -> None:
    language = Language(source="internal")
    language.outputs("vm info")
    language.outputs("# comment")
    assert language.history == []


def test_an_alias_is_recorded_as_typed() -> None:
    language = Language()
    language.outputs(".alias greet=echo hello")
    language.outputs("greet you")
    assert language.history[-1] == "greet you"


WORDS = "vm info start x namespace .csv true .filter id=9 a~ .columns id,name z echo $NAME '\"' \\ # .json history"
LINE = st.lists(
    st.sampled_from(WORDS.split()) | st.text("abv$\"'\\#=~ \t\u00e9\U0001f600", max_size=4), max_size=12
).map(" ".join)


@given(LINE)
def test_no_line_breaks_the_interpreter(line: str) -> None:
    for error in Language().errors(line):
        assert "internal error" not in error
