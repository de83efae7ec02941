"""How an error and its causes become text for people."""

import errno
import os

from megatools.hostkit.errors import InvalidInput, MegaError, Unavailable, chain_text, user_text


def caused(error: MegaError, cause: BaseException) -> MegaError:
    error.__cause__ = cause
    return error


def test_causes_follow_and_are_not_repeated() -> None:
    assert chain_text(caused(Unavailable("no switch"), InvalidInput("bad name"))) == "no switch: bad name"
    assert chain_text(caused(Unavailable("no switch: bad name"), InvalidInput("bad name"))) == "no switch: bad name"


def test_an_error_of_the_system_is_its_words_alone() -> None:
    cause = OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/no/such")
    assert chain_text(caused(Unavailable('cannot open "/no/such"'), cause)) == (
        'cannot open "/no/such": no such file or directory'
    )


def test_a_timeout_without_words_says_nothing_more() -> None:
    assert chain_text(caused(Unavailable("no answer within 5 s"), TimeoutError())) == "no answer within 5 s"
    assert chain_text(TimeoutError()) == "TimeoutError"


def test_other_errors_without_words_say_their_kind() -> None:
    assert chain_text(caused(Unavailable("cannot ask"), EOFError())) == "cannot ask: EOFError"


def test_the_hint_stands_on_a_line_of_its_own() -> None:
    assert user_text(InvalidInput("too big", hint="at most 5")) == "too big\nhint: at most 5"
    assert user_text(InvalidInput("too big")) == "too big"
