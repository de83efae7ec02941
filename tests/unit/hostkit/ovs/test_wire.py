"""The OVSDB stream is cut into values wherever its chunks end."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import ProtocolError
from megatools.hostkit.ovs.wire import Framer

_leaves = st.none() | st.booleans() | st.integers() | st.text()
_trees = st.recursive(_leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
_values = st.lists(_trees) | st.dictionaries(st.text(), _trees)


@given(st.lists(_values, max_size=5), st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_values_survive_any_chunking(values: list[object], sizes: list[int], ascii_only: bool) -> None:
    stream = b"".join(json.dumps(value, ensure_ascii=ascii_only).encode() for value in values)
    framer = Framer()
    found: list[object] = []
    turn = at = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += [json.loads(raw) for raw in framer.feed(stream[at : at + size])]
        at, turn = at + size, turn + 1
    assert found == values


def test_newlines_between_values_are_allowed() -> None:
    assert Framer().feed(b'{"a":1}\n [2]\n') == [b'{"a":1}', b"[2]"]


def test_a_stray_closing_bracket_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"closing bracket"):
        Framer().feed(b"]")


def test_an_endless_message_is_refused() -> None:
    framer = Framer(limit=100)
    with pytest.raises(ProtocolError, match=r"more than 100 bytes"):
        framer.feed(b'["' + b"x" * 200)
