"""Tokens: what is printed is read back, proofs fit one request to one server, and damage is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.mesh.token import Token, read_token

tokens = st.builds(
    Token,
    fingerprint=st.binary(min_size=32, max_size=32),
    secret=st.binary(min_size=16, max_size=16),
    port=st.integers(1, 65535),
    addresses=st.lists(st.ip_addresses().map(str), max_size=3).map(tuple),
)


@given(token=tokens)
def test_a_token_is_one_word_and_read_back(token: Token) -> None:
    assert token.text.isascii() and not set(token.text) & set(" \t\n'\"$`\\")
    assert read_token(f" {token.text}\n") == token


@given(token=tokens, other=tokens, name=st.text(max_size=10), request=st.binary(max_size=50))
def test_a_proof_fits_one_secret_server_name_and_request(token: Token, other: Token, name: str, request: bytes) -> None:
    proof = token.proof(b"server", name, request)
    assert token.proven(proof, b"server", name, request)
    assert not token.proven(proof, b"server2", name, request)
    assert not token.proven(proof, b"server", name + "x", request)
    assert not token.proven(proof, b"server", name, request + b"x")
    assert other.proven(proof, b"server", name, request) is (other.secret == token.secret)
    assert token.secret not in proof and token.secret.hex() not in token.id


@given(token=tokens, cut=st.integers(1, 30))
def test_a_part_of_a_token_is_refused(token: Token, cut: int) -> None:
    with pytest.raises(InvalidInput, match="token"):
        read_token(token.text[:-cut])


@pytest.mark.parametrize("text", ["", "kn1", "mt1.", "mt1.!!!!", "mt2.abcd", "mt1." + "A" * 88])
def test_other_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(InvalidInput, match="token"):
        read_token(text)
