"""Requests are taken once, whatever comes twice or late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import ProtocolError
from megatools.minimega.mesh import wire


@given(st.lists(st.integers(0, 9000), max_size=60))
def test_a_serial_is_taken_once_and_never_from_long_ago(serials):
    window, taken = wire.Window(), set()
    newest = -1
    for serial in serials:
        fresh = serial not in taken and serial > newest - wire.Window.WIDTH
        assert window.take(serial) is fresh
        if fresh:
            taken.add(serial)
            newest = max(newest, serial)


def test_messages_round_trip_and_nonsense_is_refused():
    request = wire.Request(b"run", 1, "kn1", (b"a", b"b"), "echo", 1.5, b"\xff")
    signed = wire.read_signed(wire.encode(wire.Signed(wire.encode(request), b"proof")))
    assert wire.read_request(signed.request) == request
    reply = wire.Reply(0, (b"a", b""), wire.End(failed=True, error="no"))
    assert wire.read_reply(wire.encode(reply)) == reply
    for read in (wire.read_signed, wire.read_request, wire.read_reply):
        with pytest.raises(ProtocolError):
            read(b"\xc1")
