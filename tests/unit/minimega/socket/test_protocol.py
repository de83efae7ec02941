"""The words of the command socket: framing of any stream, requests in both forms, replies."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput, ProtocolError
from megatools.minimega.lang.answer import Response
from megatools.minimega.lang.protocol import Ask, ClassicAsk, ClassicReply, Framer, Reply, decode, encode

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)))
REQUEST = st.one_of(
    st.fixed_dictionaries({"Command": TEXT}),
    st.fixed_dictionaries({"Suggest": TEXT}),
    st.fixed_dictionaries({"Command": TEXT, "Args": st.lists(TEXT, max_size=4), "TID": st.integers(0, 9)}),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(marks)]


@given(st.lists(REQUEST, max_size=6), st.sampled_from([b"", b"\n", b" \r\n"]), st.booleans(), st.lists(st.integers(0)))
def test_any_sequence_of_objects_cut_anywhere_comes_out_whole(requests, between, indented, cuts):
    data = between.join(json.dumps(request, indent=2 if indented else None).encode() for request in requests)
    framer = Framer()
    values = [value for piece in pieces(data, cuts) for value in framer.feed(piece)]
    assert [json.loads(value) for value in values] == requests
    assert not framer.pending


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b'{"Command":', b'{"', b"{", b"\\", b'"', b"\n"]))))
def test_garbage_never_raises_and_a_fresh_line_always_gets_through(stream):
    framer = Framer()
    for piece in stream:
        for value in framer.feed(piece):
            assert isinstance(value, bytes | ProtocolError)
    # However the garbage ended: one newline ends a string, the next line may be lost with an open brace, no more.
    rest = [value for _ in range(12) for value in framer.feed(b'\n"\n{"Command":"version"}\n')]
    assert b'{"Command":"version"}' in rest


def test_garbage_is_reported_once_a_line():
    framer = Framer()
    first, second, value = framer.feed(b'GET / HTTP/1.1\nHost: x\n{"Command":"a"}\n')
    assert isinstance(first, ProtocolError)
    assert isinstance(second, ProtocolError)
    assert value == b'{"Command":"a"}'


@pytest.mark.parametrize("head", [b'{"Command":"', b'{"Command":[', b"{", b'{"a":1,'])
def test_a_request_that_is_too_long_is_the_last_thing_heard(head):
    framer = Framer(limit=1000)
    values = [value for _ in range(20) for value in framer.feed(head if not framer.pending else b" " * 100)]
    assert [type(value) for value in values] == [ProtocolError]
    assert "1000 bytes" in str(values[0])
    assert framer.lost
    assert list(framer.feed(b'{"Command":"a"}')) == []


def test_a_request_of_exactly_the_limit_is_heard():
    value = b'{"Command":"' + b"a" * 100 + b'"}'
    assert list(Framer(limit=len(value)).feed(value)) == [value]


@pytest.mark.parametrize(
    ("value", "question"),
    [
        ({"Command": "vm info"}, Ask(command="vm info")),
        ({"Command": "vm info", "Suggest": "", "PlumbPipe": ""}, Ask(command="vm info")),
        ({"Command": " "}, Ask(command=" ")),
        ({"Command": "", "Suggest": "vm "}, Ask(suggest="vm ")),
        ({"Suggest": ""}, Ask(suggest="")),
        ({"Command": "vm_info", "Args": ["[id]"], "TID": 7}, ClassicAsk("vm_info", ("[id]",), 7)),
        ({"Command": "vm_info", "Args": None, "TID": 0}, ClassicAsk("vm_info", (), 0)),
        ({"Command": "version", "Unknown": [1]}, Ask(command="version")),
    ],
)
def test_requests(value, question):
    assert decode(json.dumps(value).encode()) == question


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "must specify either command or suggest"),
        ({"Command": "", "Suggest": ""}, "must specify either command or suggest"),
        ({"Command": "a", "Suggest": "b"}, "must specify either command or suggest"),
        ({"Command": "a", "PlumbPipe": "b"}, "must specify either command or suggest"),
        ({"PlumbPipe": "b"}, 'not available yet: "PlumbPipe"'),
        ({"Command": 3}, "invalid request"),
        ({"Command": "a", "Args": "b"}, "invalid request"),
    ],
)
def test_requests_that_are_none(value, message):
    with pytest.raises(InvalidInput, match=message):
        decode(json.dumps(value).encode())


def test_replies_have_the_documented_keys():
    reply = Reply([Response("kn1", "hi", ["a"], [["b"]])], "kn1: hi", more=True)
    assert json.loads(encode(reply)) == {
        "Resp": [{"Host": "kn1", "Response": "hi", "Header": ["a"], "Tabular": [["b"]], "Error": "", "Data": None}],
        "Rendered": "kn1: hi",
        "More": True,
        "Status": False,
    }
    assert json.loads(encode(Reply())) == {"Resp": None, "Rendered": "", "More": False, "Status": False}
    assert json.loads(encode(Reply(suggest=["vm "])))["Suggest"] == ["vm "]
    assert json.loads(encode(ClassicReply("x", tid=4))) == {"Response": "x", "Error": "", "More": False, "TID": 4}


def test_a_value_over_the_limit_is_refused_even_when_it_came_whole():
    framer = Framer(limit=20)
    first, second = framer.feed(b'{"Command": "' + b"x" * 20 + b'"}\n{"Command": "y"}\n')
    assert isinstance(first, ProtocolError)
    assert second == b'{"Command": "y"}'
    assert not framer.lost
