"""Frames survive being cut anywhere; nonsense is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import ProtocolError
from megatools.minimega.mesh import frames

_SAMPLES = [
    frames.Ask(3, ("kn1", "kn2"), b"\0payload", 2.5),
    frames.Answer(1, "kn1", b"x", last=True),
    frames.Join(),
    frames.Cut(9, "abc"),
]


@given(st.lists(st.sampled_from(_SAMPLES), max_size=5), st.integers(1, 40))
def test_a_stream_cut_anywhere_yields_the_frames(sent, size):
    stream = b"".join(map(frames.encode, sent))
    cutter = frames.Cutter()
    bodies = [body for at in range(0, len(stream), size) for body in cutter.feed(stream[at : at + size])]
    assert [frames.to_engine(body) for body in bodies] == sent


def test_both_directions_have_their_own_frames():
    (body,) = frames.Cutter().feed(frames.encode(frames.Token("kn1", "id", "a:1", alive=True)))
    assert frames.from_engine(body) == frames.Token("kn1", "id", "a:1", alive=True)
    with pytest.raises(ProtocolError):
        frames.to_engine(body)


def test_a_length_out_of_range_is_refused():
    with pytest.raises(ProtocolError, match="over the limit"):
        list(frames.Cutter().feed(b"\xff\xff\xff\xff"))
