"""Range notation: the forms and errors of spec B.6, and round trips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.ranges import MAX_NAMES, compress, expand


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("kn1", ["kn1"]),
        ("kn[1-3,7]", ["kn1", "kn2", "kn3", "kn7"]),
        ("kn[008-011]", ["kn008", "kn009", "kn010", "kn011"]),
        ("kn[8-11]", ["kn8", "kn9", "kn10", "kn11"]),
        ("a,kn[1-2],b", ["a", "kn1", "kn2", "b"]),
        ("[1-3]", ["1", "2", "3"]),
        (" kn1 , kn2 ", ["kn1", "kn2"]),
        ("kn[5]", ["kn5"]),
    ],
)
def test_expand(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kn[1[2]]", "nested '['"),
        ("kn1]", "unmatched ']'"),
        ("kn[1-3", "unterminated '['"),
        ("foo[1-2].bar", "invalid range specification"),
        ("a[1]b[2]", "invalid range specification"),
        ("a,,b", "invalid range specification"),
        ("kn[1-x]", "invalid subrange 1-x"),
        ("kn[5-1]", "invalid subrange 5-1"),
        ("kn[]", "invalid subrange "),
        ("kn[1,]", "invalid subrange "),
        ("kn[-3]", "invalid subrange -3"),
    ],
)
def test_expand_errors(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        expand(text)
    assert str(caught.value) == message
    assert caught.value.hint


def test_expand_refuses_a_range_that_would_fill_memory() -> None:
    with pytest.raises(InvalidInput, match=str(MAX_NAMES)):
        expand("kn[1-99999999999]")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["kn9", "kn1", "kn2", "kn3", "kn4"], "kn[1-4,9]"),
        (["kn1", "kn1"], "kn1"),
        (["kn008", "kn009", "kn010", "kn011"], "kn[008-011]"),
        (["kn8", "kn9", "kn10"], "kn[8-10]"),
        (["kn08", "kn9"], "kn08,kn9"),
        (["foo1.bar", "foo2.bar"], "foo[1-2].bar"),
        (["b", "a"], "a,b"),
        (["1", "2"], "[1-2]"),
    ],
)
def test_compress(names: list[str], text: str) -> None:
    assert compress(names) == text


NAMES = st.from_regex(r"[a-z.]{0,3}[0-9]{0,3}", fullmatch=True).filter(bool)


@given(st.lists(NAMES))
def test_what_compress_writes_expand_reads(names: list[str]) -> None:
    assert sorted(expand(compress(names))) == sorted(set(names))


@given(st.text(alphabet="kn[]-,0123456789 ", max_size=12))
def test_any_text_expands_or_is_refused(text: str) -> None:
    try:
        names = expand(text)
    except InvalidInput:
        return
    assert all(name and "[" not in name and "]" not in name for name in names)
