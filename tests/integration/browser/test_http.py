"""The page server's addresses, spoken to as a program would: no browser between."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from megatools.hostkit.errors import AlreadyExists, NotFound, Unavailable
from megatools.minimega.web.server import NOVNC
from tests.support.requires import requires
from tests.support.site import Guest, ask, site


async def test_the_list_as_json_leaves_out_the_dead(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        s.fleet.add(Guest("up", state="RUNNING"))
        s.fleet.add(Guest("lab-up", "lab", state="PAUSED"))
        s.fleet.add(Guest("quit", state="QUIT"))
        s.fleet.add(Guest("bad", state="ERROR"))
        rows = json.loads((await ask(s, "/vms/info.json")).text)
        assert [(row["name"], row["host"]) for row in rows] == [("up", "testhost"), ("lab-up", "testhost")]
        rows = json.loads((await ask(s, "/lab/vms/info.json")).text)
        assert [row["name"] for row in rows] == ["lab-up"]


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/", 200, ""),
        ("/vms", 200, ""),
        ("/lab/vms", 200, ""),
        ("/lab", 307, "/lab/vms"),
        ("/testhost", 307, "/vms#testhost"),
        ("/testhost/5900", 307, "/lab/vm/a%20b/connect/"),
        ("/vnc/testhost/5900", 307, "/lab/vm/a%20b/connect/"),
        ("/testhost/5999", 404, ""),
        ("/vm/a%20b/connect/", 307, "/lab/vm/a%20b/connect/"),
        ("/lab/vm/a%20b/connect", 307, "/lab/vm/a%20b/connect/"),
        ("/lab/vm/a%20b/connect/", 200, ""),
        ("/lab/vm/absent/connect/", 404, ""),
        ("/elsewhere", 404, ""),
        ("/lab/vm/a%20b/screenshot.png", 409, ""),
        ("/lab/vm/a%20b/screenshot.png?size=1x", 400, ""),
        ("/vm/a%20b/screenshot.png?size=99999", 400, ""),
    ],
)
async def test_addresses(tmp_path: Path, path: str, status: int, location: str) -> None:
    async with site(tmp_path) as s:
        s.fleet.add(Guest("a b", "lab", state="QUIT"))
        answer = await ask(s, path)
        assert (answer.status, answer.headers.get("location", "")) == (status, location)


async def test_a_button_that_cannot_work_says_why(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        s.fleet.add(Guest("old", state="QUIT"))
        answer = await ask(s, "/minimega/vm/old/start", method="POST")
        assert (answer.status, answer.text) == (409, 'VM "old" cannot start: it is QUIT\nhint: launch it again\n')
        assert (await ask(s, "/vm/old/explode", method="POST")).status == 404
        assert (await ask(s, "/vm/old/start")).status == 405
        assert (await ask(s, "/vm/old/start", method="POST", token="wrong")).status == 401


@requires("qemu-system-x86_64")
async def test_buttons_and_screenshots_of_a_real_vm(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        guest = await s.fleet.boot("web1")
        for verb, state in (("start", "RUNNING"), ("stop", "PAUSED"), ("kill", "QUIT")):
            if verb == "kill":
                png = await ask(s, "/vm/web1/screenshot.png?size=100")
                assert (png.status, png.headers["content-type"]) == (200, "image/png")
                assert int.from_bytes(png.body[16:20], "big") == 100
            answer = await ask(s, f"/vm/web1/{verb}", method="POST")
            assert (answer.status, answer.text, guest.state) == (200, "", state)


@pytest.mark.parametrize(
    "path",
    [
        "/novnc/../../server.py",
        "/novnc/..%2f..%2fserver.py",
        "/novnc/%2e%2e/vms.js/../../server.py",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/novnc/%2fetc%2fpasswd",
        "/novnc/core",
        "/novnc/link",
        "/novnc/%00",
    ],
)
async def test_static_files_never_lead_out(tmp_path: Path, path: str) -> None:
    novnc = tmp_path / "novnc"
    (novnc / "core").mkdir(parents=True)
    (novnc / "core" / "rfb.js").write_text("export default 1;")
    (novnc / "link").symlink_to("/etc/passwd")
    async with site(tmp_path) as s:
        s.server.set_novnc(str(novnc))
        assert (await ask(s, path)).status == 404
        assert (await ask(s, "/novnc/core/rfb.js")).text == "export default 1;"


async def test_scripts_are_served_as_scripts_and_our_novnc_is_complete(tmp_path: Path) -> None:
    record = json.loads((NOVNC.parent / "vendor" / "VENDOR.json").read_text())["@novnc/novnc"]
    async with site(tmp_path) as s:
        for name in record["sha256"]:
            answer = await ask(s, f"/{name}")
            assert answer.status == 200, name
            if name.endswith(".js"):
                assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        mjs = tmp_path / "n" / "core"
        mjs.mkdir(parents=True)
        (mjs / "rfb.js").touch()
        (mjs / "a.mjs").touch()
        s.server.set_novnc(str(tmp_path / "n"))
        assert (await ask(s, "/novnc/core/a.mjs")).headers["content-type"] == "text/javascript; charset=utf-8"


async def test_novnc_from_elsewhere_must_be_one(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        with pytest.raises(NotFound, match="no noVNC"):
            s.server.set_novnc(str(tmp_path))
        assert s.server.novnc == str(NOVNC)


async def test_starting_twice_and_a_port_in_use(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        with pytest.raises(AlreadyExists, match=f"vnc already running on: localhost:{s.port}") as caught:
            await s.server.start("")
        assert s.url in caught.value.hint
        await s.server.stop()
        with socket.create_server(("127.0.0.1", s.port)), pytest.raises(Unavailable, match=f'"{s.port}" is in use'):
            await s.server.start(f":{s.port}")
        assert s.server.url == ""


async def test_event_streams_end_when_the_server_stops(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        s.fleet.add(Guest("one"))
        listening = asyncio.create_task(ask(s, "/vms/events"))
        async with asyncio.timeout(20):
            while not s.server.viewers:
                await asyncio.sleep(0.01)
            await s.server.stop()
            answer = await listening
        assert answer.headers["content-type"].startswith("text/event-stream")


async def test_an_oversized_or_broken_request_is_refused_and_the_server_lives(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        for garbage in (b"\x00\xff" * 100 + b"\r\n\r\n", b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            writer.write(garbage)
            async with asyncio.timeout(20):
                assert b"400" in await reader.read(100)
            writer.close()
        assert (await ask(s, "/vms")).status == 200
