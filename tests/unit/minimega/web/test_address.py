"""Addresses of the pages, and the host names that may be answered."""

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput, MegaError, Unavailable
from megatools.minimega.web.address import Address, host_of, is_own_host, listen, parse_address, public_host

BOTH = ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("text", "hosts", "port"),
    [
        ("", BOTH, 8080),
        ("8081", BOTH, 8081),
        (":8081", BOTH, 8081),
        ("localhost:81", BOTH, 81),
        ("0.0.0.0:8080", ("0.0.0.0",), 8080),
        ("10.0.0.1", ("10.0.0.1",), 8080),
        ("[::]:90", ("::",), 90),
        ("[::1]", ("::1",), 8080),
        ("fe80::1", ("fe80::1",), 8080),
        ("127.0.0.1:0", ("127.0.0.1",), 0),
    ],
)
def test_addresses(text: str, hosts: tuple[str, ...], port: int) -> None:
    assert parse_address(text) == Address(hosts, port)


@pytest.mark.parametrize("text", ["65536", ":x", "1.2.3.4:99999", "example.org:80", "[x]:1", "1.2.3:80", "²"])
def test_bad_addresses_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match='"'):
        parse_address(text)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_one_clear_error(text: str) -> None:
    try:
        address = parse_address(text)
    except MegaError:
        return
    assert 0 <= address.port <= 65535
    assert address.hosts


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f'port "{port}" is in use') as caught:
            listen(Address(("127.0.0.1",), port))
    assert "vnc serve" in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EADDRINUSE


def test_both_loopbacks_share_a_port() -> None:
    sockets = listen(Address(BOTH, 0))
    try:
        assert len({one.getsockname()[1] for one in sockets}) == 1
    finally:
        for one in sockets:
            one.close()


def test_the_url_names_a_host_one_can_reach() -> None:
    assert public_host(Address(BOTH, 1)) == "localhost"
    assert public_host(Address(("0.0.0.0",), 1)) == socket.gethostname()
    assert public_host(Address(("fd00::1",), 1)) == "[fd00::1]"
    assert public_host(Address(("10.0.0.1",), 1)) == "10.0.0.1"


@pytest.mark.parametrize(
    ("header", "ours"),
    [
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("10.1.2.3", True),
        ("lab7:8080", True),
        ("", False),
        ("evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
    ],
)
def test_only_our_names_and_literal_addresses_are_answered(header: str, ours: bool) -> None:
    assert is_own_host(header, frozenset({"lab7"})) is ours


def test_the_port_is_no_part_of_the_name() -> None:
    assert host_of("[fe80::1]:80") == "fe80::1"
    assert host_of("Lab7:80") == "lab7"
