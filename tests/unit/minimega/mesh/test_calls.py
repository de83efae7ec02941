"""A call ends once at each target, whatever order replies, losses and the deadline come in."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from megatools.minimega.mesh import calls, wire
from megatools.minimega.mesh.calls import HERE, Call
from megatools.minimega.mesh.mesh import Arrival, Ending


def _taken(call: Call) -> list[Arrival]:
    async def all_of_it() -> list[Arrival]:
        found = []
        while not call.over:
            found.append(await asyncio.wait_for(call.take(), 1))
        return found

    return asyncio.run(all_of_it())


_REPLIES = [wire.Reply(number, (b"%d" % number,), wire.End() if number == 3 else None) for number in range(4)]


@given(st.lists(st.sampled_from(_REPLIES), max_size=8), st.permutations(_REPLIES))
def test_replies_twice_and_out_of_order_are_one_answer(extra, order):
    call = Call({"kn1": "a"})
    for reply in [*extra, *order]:
        call.replied("a", reply)
    *parts, end = _taken(call)
    assert [part.payload for part in parts] == [b"0", b"1", b"2", b"3"]
    assert end == Arrival("kn1", ending=Ending.DONE)


_EVENTS = ["reply", "finished a", "finished all", "went", "expired", "abandoned", "stranger"]


@given(st.lists(st.sampled_from(_EVENTS), max_size=8))
def test_one_end_for_each_target(events):
    call = Call({"kn1": "a", "kn2": "b", "me": HERE})
    for event in events:
        match event:
            case "reply":
                call.replied("a", wire.Reply(0, (), wire.End()))
            case "finished a":
                call.finished("kn1")
            case "finished all":
                call.finished("")
            case "went":
                call.went("b")
            case "expired":
                call.expire(1)
            case "abandoned":
                call.abandon("no engine")
            case _:
                call.replied("z", wire.Reply(0, (b"x",), wire.End()))
    if "expired" not in events:
        assert "me" in call.waiting, "this node's part needs no engine"
    call.expire(1)
    ends = _taken(call)
    assert sorted(end.host for end in ends) == ["kn1", "kn2", "me"]
    assert all(end.ending is not None for end in ends)


def test_a_gap_at_the_end_is_a_loss():
    call = Call({"kn1": "a"})
    call.replied("a", wire.Reply(1, (b"late",), wire.End()))
    call.finished("kn1")
    (end,) = _taken(call)
    assert end.ending is Ending.LOST


def test_a_reader_too_far_behind_is_told(monkeypatch):
    monkeypatch.setattr(calls, "MAX_WAITING", 1 << 20)
    call = Call({"kn1": "a"})
    call.replied("a", wire.Reply(0, (bytes(1 << 19), bytes(1 << 20))))
    assert not call.waiting
    assert _taken(call)[-1].ending is Ending.ERROR
