"""Certificates: what is put in comes out, and what another key signed is told apart."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatools.hostkit.errors import Corrupt, InvalidInput
from megatools.hostkit.x509 import Certificate, Key, Names, Validity, issue, make_authority

_START = datetime(2026, 1, 1, tzinfo=UTC)
_VALID = Validity(_START, _START + timedelta(days=100))
_KEY = Key.make()
_AUTHORITY = make_authority(_KEY, "knights", _VALID)
_NODE_KEY = Key.make()

_labels = st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True)
_names = st.builds(
    Names,
    common=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64),
    dns=st.lists(_labels, max_size=3).map(tuple),
    addresses=st.lists(st.ip_addresses().map(str), max_size=3).map(tuple),
    uris=st.lists(_labels.map(lambda label: f"x:{label}"), max_size=3).map(tuple),
)


@given(names=_names)
@settings(max_examples=30, deadline=None)
def test_what_is_issued_is_read_back(names: Names) -> None:
    made = issue(_AUTHORITY, _KEY, _NODE_KEY.request(), names, _VALID)
    read = Certificate.read(made.der)
    assert read.names == names
    assert read.validity == _VALID
    assert read.issued_by(_AUTHORITY)
    assert read.belongs_to(_NODE_KEY)
    assert (read.fingerprint, read.serial) == (made.fingerprint, made.serial)


def test_a_pem_text_holds_a_key_and_certificates() -> None:
    made = issue(_AUTHORITY, _KEY, _NODE_KEY.request(), Names("n"), _VALID)
    text = _NODE_KEY.pem + made.pem + _AUTHORITY.pem
    assert [one.der for one in Certificate.read_all(text)] == [made.der, _AUTHORITY.der]
    assert made.belongs_to(Key.read(text))


def test_the_certificate_of_another_authority_is_told_apart() -> None:
    other_key = Key.make()
    other = make_authority(other_key, "knights", _VALID)
    foreign = issue(other, other_key, _NODE_KEY.request(), Names("n"), _VALID)
    assert not foreign.issued_by(_AUTHORITY)
    assert foreign.issued_by(other)


def test_a_node_cannot_issue() -> None:
    node = issue(_AUTHORITY, _KEY, _NODE_KEY.request(), Names("n"), _VALID)
    forged = issue(node, _NODE_KEY, Key.make().request(), Names("m"), _VALID)
    assert not forged.issued_by(_AUTHORITY)


@given(data=st.binary(max_size=200), other=st.binary(max_size=200))
@settings(max_examples=30, deadline=None)
def test_a_signature_is_over_these_bytes_by_this_key(data: bytes, other: bytes) -> None:
    certificate = issue(_AUTHORITY, _KEY, _NODE_KEY.request(), Names("n"), _VALID)
    signature = _NODE_KEY.sign(data)
    assert certificate.verifies(signature, data)
    assert certificate.verifies(signature, other) is (data == other)
    assert not certificate.verifies(_KEY.sign(data), data)
    assert not certificate.verifies(b"nonsense", data)


@pytest.mark.parametrize("second", [-1, 0, 100 * 86400, 100 * 86400 + 1])
def test_dates_include_their_ends(second: int) -> None:
    assert _AUTHORITY.holds_at(_START + timedelta(seconds=second)) is (0 <= second <= 100 * 86400)


def test_garbage_is_refused_by_name() -> None:
    with pytest.raises(Corrupt, match="private key is unreadable"):
        Key.read(b"nonsense")
    with pytest.raises(Corrupt, match="certificate is unreadable"):
        Certificate.read(b"nonsense")
    with pytest.raises(InvalidInput, match="signing request is unreadable"):
        issue(_AUTHORITY, _KEY, b"nonsense", Names("n"), _VALID)


def test_a_request_signed_with_another_key_is_refused() -> None:
    request = bytearray(_NODE_KEY.request())
    request[-1] ^= 1
    with pytest.raises(InvalidInput, match=r"not signed with its own key|unreadable"):
        issue(_AUTHORITY, _KEY, bytes(request), Names("n"), _VALID)
