"""History keeps the newest lines (spec B.7); aliases are defined from one text (spec B.3)."""

import logging

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.lang.aliases import Aliases
from megatools.minimega.lang.history import LIMIT, History


def test_the_oldest_lines_leave_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    history = History(limit=3)
    with caplog.at_level(logging.WARNING):
        for number in range(6):
            history.record(str(number))
    assert history.lines() == ("3", "4", "5")
    assert len(caplog.records) == 1
    assert LIMIT == 10_000


def test_text_has_no_final_newline() -> None:
    history = History()
    history.record("a")
    history.record("b")
    assert history.text() == "a\nb"


def test_the_name_is_what_stands_before_the_first_equals_sign() -> None:
    aliases = Aliases()
    aliases.define("vmr=.filter state=running vm info")
    assert aliases.rows() == (("vmr", ".filter state=running vm info"),)
    assert aliases.expand("vmr  # x") == ".filter state=running vm info  # x"
    assert aliases.expand("vmrx") == "vmrx"
    assert aliases.expand("") == ""


@pytest.mark.parametrize("text", ["", "a", "=b", "a=", "a b=c", " = "])
def test_malformed_aliases(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Aliases().define(text)
    assert caught.value.message == "expected alias of format `alias=expansion`"
