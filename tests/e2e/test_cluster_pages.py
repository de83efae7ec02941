"""The pages of one host of a cluster, seen from the network: hosts, VMs and consoles of the others, with its token."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from megatools.hostkit import rfb
from megatools.hostkit.errors import Unavailable
from megatools.hostkit.websocket import open_websocket
from tests.support import netns
from tests.support.cluster import Cluster, cluster
from tests.support.enrolling import enrol
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64"), pytest.mark.timeout(300)]

Rows = list[dict[str, str]]


class Browser:
    """Asks the pages of the first of three enrolled hosts, from a place on the network that is none of them."""

    def __init__(self, knights: Cluster) -> None:
        self.knights = knights
        kn1, kn2, _ = knights.daemons
        for daemon in (kn1, kn2):
            daemon.ask("vm config memory 32")
            daemon.ask("vm config qemu-append -boot menu=on,splash-time=65000")
            daemon.ask("vm launch kvm web")
        url = kn1.ask(f"vnc serve {knights.hosts[0].address}:8080").split()[-1]
        self.netloc = urlsplit(url).netloc
        self.token = parse_qs(urlsplit(url).query)["token"][0]

    def ask(self, path: str, method: str = "GET", token: str | None = None) -> tuple[http.client.HTTPResponse, bytes]:
        """The answer and its body; with the right token when none is given."""
        with contextlib.closing(http.client.HTTPConnection(self.netloc, timeout=60)) as connection:
            connection.request(method, path, headers={"Authorization": f"Bearer {token or self.token}"})
            answer = connection.getresponse()
            return answer, answer.read()

    def json(self, path: str) -> Rows:
        answer, body = self.ask(path)
        assert answer.status == 200, body
        found: Rows = json.loads(body)
        return found

    def silent(self) -> str | None:
        """The hosts that the list as JSON says it lacks."""
        return self.ask("/vms/info.json")[0].getheader("Minimega-Silent-Hosts")

    def far(self) -> dict[str, str]:
        """The VM on the second host, as the first one's list has it."""
        (row,) = [row for row in self.json("/vms/info.json") if row["host"] == "kn2"]
        return row

    @property
    def path(self) -> str:
        """The address of that VM: by UUID, for the first host has one of the same name."""
        return f"/minimega/vm/{self.far()['uuid']}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with cluster(3) as knights:
        knights.start()
        enrol(knights)
        one = Browser(knights)
        with netns.inside(knights.lab.outside):
            yield one


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.05)


def test_the_page_of_hosts_shows_their_load_and_the_mesh(browser: Browser) -> None:
    answer, body = browser.ask("/hosts")
    assert answer.status == 200 and b"<table" in body
    found = {row["name"]: row for row in browser.json("/hosts.json")}
    assert list(found) == ["kn1", "kn2", "kn3"]
    assert [row["state"] for row in found.values()] == ["here", "connected", "connected"]
    assert [row["vms"] for row in found.values()] == ["1", "1", "0"]
    assert {name: row["links"] for name, row in found.items()} == {
        "kn1": "kn2,kn3",
        "kn2": "kn1,kn3",
        "kn3": "kn1,kn2",
    }
    for row in found.values():
        assert len(row["load"].split()) == 3 and float(row["load"].split()[0]) >= 0
        assert int(row["cpus"]) > 0


def test_the_list_has_the_vms_of_all_hosts(browser: Browser) -> None:
    assert sorted((row["host"], row["name"]) for row in browser.json("/vms/info.json")) == [
        ("kn1", "web"),
        ("kn2", "web"),
    ]


def test_buttons_screen_and_console_of_a_vm_on_another_host(browser: Browser) -> None:
    kn2 = browser.knights.daemons[1]
    path = browser.path
    answer, body = browser.ask(f"{path}/start", "POST")
    assert answer.status == 200, body
    assert kn2.vm("web")["state"] == browser.far()["state"] == "RUNNING"
    answer, body = browser.ask(f"{path}/screenshot.png?size=100")
    assert answer.status == 200 and body.startswith(b"\x89PNG")
    answer, body = browser.ask(f"{path}/connect/")
    assert answer.status == 200 and b"console.js" in body
    assert browser.knights.daemons[0].vm("web")["state"] == "BUILDING"


async def test_keys_reach_the_console_of_a_vm_on_another_host(browser: Browser) -> None:
    if browser.far()["state"] != "RUNNING":
        browser.ask(f"{browser.path}/start", "POST")
    address = f"ws://{browser.netloc}{browser.path}/connect/ws"
    pipe = await rfb.dial_websocket(address, token=browser.token)
    async with await rfb.Client.connect(pipe, timeout_s=60) as client:
        before = await client.wait_for(lambda picture: picture.width == 720 and not picture.is_blank(), timeout_s=60)
        await client.press(rfb.ESCAPE)  # the menu of boot devices comes: more than a blinking cursor
        await client.wait_for(
            lambda now: (region := rfb.changed_region(before, now)) is not None and region.bottom - region.top > 20,
            timeout_s=60,
        )


@pytest.mark.parametrize("token", ["wrong", ""])
async def test_all_of_it_needs_the_token(browser: Browser, token: str) -> None:
    path = browser.path
    state = browser.far()["state"]
    for address in ("/hosts", "/hosts.json", "/vms/info.json", f"{path}/screenshot.png", f"{path}/connect/"):
        answer, _ = browser.ask(address, token=token or "-")
        assert answer.status == 401, address
    for verb in ("start", "stop", "kill"):
        answer, _ = browser.ask(f"{path}/{verb}", "POST", token=token or "-")
        assert answer.status in {401, 403}, verb
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with pytest.raises(Unavailable, match="status 403"):
        await open_websocket(f"ws://{browser.netloc}{path}/connect/ws", headers=headers, timeout_s=20)
    assert browser.far()["state"] == state


def test_stop_and_kill_reach_it_too(browser: Browser) -> None:
    kn2, path = browser.knights.daemons[1], browser.path
    if browser.far()["state"] != "RUNNING":
        browser.ask(f"{path}/start", "POST")
    assert browser.ask(f"{path}/stop", "POST")[0].status == 200
    assert kn2.vm("web")["state"] == "PAUSED"
    assert browser.ask(f"{path}/kill", "POST")[0].status == 200
    assert kn2.vm("web")["state"] == "QUIT"
    answer, body = browser.ask(f"{path}/stop", "POST")
    assert answer.status == 409 and body, (answer.status, body)
    assert browser.knights.daemons[0].vm("web")["state"] == "BUILDING"


def told(stream: http.client.HTTPResponse, until: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
    """What the live list says of silent hosts, event by event, until it says something."""
    found: list[dict[str, str]] = []
    deadline = time.monotonic() + 60
    while not found or not until(found[-1]):
        assert time.monotonic() < deadline, found
        line = stream.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            found.append(json.loads(line.removeprefix(b"data: "))["silent"])
    return found


def test_the_live_list_names_a_host_that_hangs_until_it_goes_on(browser: Browser) -> None:
    kn1, _, hung = browser.knights.daemons
    assert hung.process is not None
    with contextlib.closing(http.client.HTTPConnection(browser.netloc, timeout=60)) as connection:
        connection.request("GET", "/vms/events", headers={"Authorization": f"Bearer {browser.token}"})
        stream = connection.getresponse()
        assert told(stream, lambda silent: True) == [{}]
        quiet_until = time.monotonic() + 4  # longer than anybody may be silent
        while time.monotonic() < quiet_until:
            kn1.ask(f"vm tag web seen {time.monotonic()}")
            assert told(stream, lambda silent: True) == [{}]
        hung.process.send_signal(signal.SIGSTOP)
        try:
            before = told(stream, bool)
            assert before[-1] == {"kn3": "it does not answer; its VMs are shown as they were"}
        finally:
            hung.process.send_signal(signal.SIGCONT)
        assert told(stream, lambda silent: not silent)[-1] == {}


def test_a_host_that_hangs_is_named(browser: Browser) -> None:
    hung = browser.knights.daemons[2]
    assert hung.process is not None
    hung.process.send_signal(signal.SIGSTOP)  # its engine goes on, so the mesh does not miss it
    try:
        wait_for(lambda: browser.silent() == "kn3")
        assert ("kn1", "web") in {(row["host"], row["name"]) for row in browser.json("/vms/info.json")}
        found = {row["name"]: row["state"] for row in browser.json("/hosts.json")}
        assert found["kn2"] == "connected"
        assert found["kn3"] == "does not answer"
    finally:
        hung.process.send_signal(signal.SIGCONT)
    wait_for(lambda: browser.silent() == "")
