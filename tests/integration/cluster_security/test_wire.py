"""What a listener on the wire learns of a cluster: TLS and nothing else, but for datagrams of ids and addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.enrolling import enrol
from tests.support.requires import requires
from tests.support.wiretap import Capture, check_tls13, read_capture

pytestmark = [pytest.mark.root, requires("ip", "unshare", "tcpdump")]

_NAME, _CONTEXT = "conspicuous", "secretcontext"
_CONTENT = b"plain text of a file\n" * 10_000
_PORT = 9000


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Capture]:
    """A day in the life of a cluster, seen at its second host."""
    trace = tmp_path_factory.mktemp("wire") / "trace.pcap"
    with cluster(3, name=_NAME, flags=["-context", _CONTEXT]) as found:
        found.start()
        with found.capture(1, trace):
            _live(found)
    yield read_capture(trace)


def _live(found: Cluster) -> None:
    enrol(found)
    one, two, three = found.daemons
    assert two.ask("mesh send all hostname")
    (one.base / "files" / "image").write_bytes(_CONTENT)
    two.ask("file get image")
    assert (two.base / "files" / "image").read_bytes() == _CONTENT
    one.ask(f"cluster revoke {found.names[2]}")
    found.wait_for_members(2, 0, 1)
    three.ask("cluster leave")


def test_every_connection_is_tls(capture: Capture) -> None:
    begun = [flow for flow in capture.flows if flow.begun and flow.parts]
    said = [check_tls13(flow) for flow in begun]
    for port in (_PORT, _PORT + 1, _PORT + 3):  # engine, side channel, enrolment
        ends = {end for flow, end in zip(begun, said, strict=True) if flow in capture.between(port)}
        assert ends == {"client", "server"}, f"nothing was captured on port {port}"
    known = (f":{_PORT}", f":{_PORT + 1}", f":{_PORT + 3}")
    assert all(flow.source.endswith(known) or flow.target.endswith(known) for flow in capture.flows)


def test_no_name_context_or_content_is_in_the_clear(capture: Capture) -> None:
    everything = [flow.content for flow in capture.flows] + [payload for _, _, payload in capture.datagrams]
    for secret in (_NAME, _CONTEXT, "knights", "megatools", "minimega", "plain text", "BEGIN"):
        assert not any(secret.encode() in content for content in everything), secret


def test_datagrams_are_for_finding_each_other_only(capture: Capture) -> None:
    scouting = [(target, payload) for _, target, payload in capture.datagrams if payload]
    assert scouting
    assert all(len(payload) < 200 for _, payload in scouting)
    assert any(b"tls/10.99." in payload for _, payload in scouting)


def test_the_checks_find_plain_text(tmp_path: Path) -> None:
    """An open mesh is not TLS, and shows names."""
    trace = tmp_path / "trace.pcap"
    with cluster(2, name=_NAME, flags=["-context", _CONTEXT, "-mesh-open"]) as found, found.capture(1, trace):
        found.start()
        found.wait_for_members()
    seen = read_capture(trace)
    flows = [flow for flow in seen.between(_PORT) if flow.begun and flow.parts]
    assert any(_NAME.encode() in flow.content for flow in flows)
    with pytest.raises(AssertionError, match="not TLS"):
        for flow in flows:
            check_tls13(flow)
