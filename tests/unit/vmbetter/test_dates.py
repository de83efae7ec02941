"""The date of an image: what SOURCE_DATE_EPOCH may say."""

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter.assembly import date_asked


@pytest.mark.parametrize(("text", "date"), [(None, None), ("", None), ("0", 0), ("1700000000", 1700000000)])
def test_a_date_is_taken_as_it_is(text: str | None, date: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    if text is not None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    assert date_asked() == date


@pytest.mark.parametrize("text", ["yesterday", "-1", "1.5", "\u0663", "\u00b2", "4294967296", "1" * 30])
def test_no_date_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(InvalidInput, match="is not a number of seconds between 0 and 4294967295"):
        date_asked()
