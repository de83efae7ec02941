"""Which nodes are up: real addresses that answer, that refuse, and that stay silent, in a network of the test's own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.hostkit import hostnames, liveness, proc
from megatools.igor.model.config import Config, ProbeConfig
from megatools.igor.model.host import Host
from megatools.igor.run import probes
from tests.support import netns

pytestmark = pytest.mark.root
BUDGET_S = 0.8


@pytest.fixture
def network() -> Iterator[None]:
    """10.9.0.1 and 127.0.0.0/8 answer; the rest of 10.9.0.0/16 is a wire on which nobody is."""
    with netns.entered():
        proc.run_sync(["ip", "tuntap", "add", "t0", "mode", "tap"], timeout_s=30)
        proc.run_sync(["ip", "address", "add", "10.9.0.1/16", "dev", "t0"], timeout_s=30)
        proc.run_sync(["ip", "link", "set", "t0", "up"], timeout_s=30)
        yield


def answering(addresses: list[str], parallel: int = 64) -> set[str]:
    return liveness.answering(addresses, port=22, budget_s=BUDGET_S, parallel=parallel)


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("ping", [True, False], ids=["icmp", "tcp only"])
def test_who_answers_is_found_in_time(ping: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ping:
        monkeypatch.setattr(liveness, "_icmp_socket", lambda: None)
    up = [f"127.0.1.{number}" for number in range(1, 101)]
    silent = [f"10.9.1.{number}" for number in range(1, 101)]
    unrouted = ["192.0.2.1"]
    started = time.monotonic()
    assert answering([*up, *silent, *unrouted], parallel=512) == set(up)
    assert time.monotonic() - started < BUDGET_S * 10, "it does not wait for the silent ones"


@pytest.mark.usefixtures("network")
def test_a_listener_counts_as_much_as_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "_icmp_socket", lambda: None)
    with socket.create_server(("127.0.0.5", 22)):
        assert answering(["127.0.0.5", "127.0.0.6"], parallel=1) == {"127.0.0.5", "127.0.0.6"}


@pytest.mark.usefixtures("network")
def test_nodes_are_known_by_address_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.2.1 kn1 # up\n10.9.9.9 kn2\n")
    monkeypatch.setattr(hostnames.HostNames.__init__, "__defaults__", (hosts,))
    config = Config(
        tftproot="/t", prefix="kn", start=1, end=4, rackwidth=4, rackheight=1, probes=ProbeConfig(budget_s=BUDGET_S)
    )
    known = {3: Host(3, "kn3", ip="127.0.2.3")}
    assert probes.probe(range(1, 5), known, config) == {1: True, 2: False, 3: True, 4: False}


def test_the_hosts_file_is_read_as_the_system_reads_it() -> None:
    text = (
        "# comment\n127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.1 KN1 kn1.lab # first\n10.0.0.2 kn1\nbad\n"
    )
    assert hostnames.hosts_in(text) == {"localhost": "127.0.0.1", "kn1": "10.0.0.1", "kn1.lab": "10.0.0.1"}
