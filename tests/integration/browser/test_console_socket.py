"""Consoles through the real page server: RFB over its websocket to a real QEMU."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from megatools.hostkit import rfb
from megatools.hostkit.errors import Unavailable
from megatools.hostkit.websocket import WebsocketPipe, open_websocket
from megatools.minimega.vm.screens import picture_of_ppm
from megatools.minimega.web.fleet import Verb
from tests.support.requires import requires
from tests.support.site import Guest, Site, site

pytestmark = requires("qemu-system-x86_64")


async def viewer(s: Site, vm: str, namespace: str = "minimega") -> rfb.Client:
    return await rfb.Client.connect(await rfb.dial_websocket(s.websocket(vm, namespace), token=s.token), timeout_s=30)


def at_prompt(picture: rfb.Picture) -> bool:
    """SeaBIOS has switched to text mode and written something."""
    return picture.width == 720 and not picture.is_blank()


async def settled(client: rfb.Client) -> rfb.Picture:
    """The screen once nothing but the blinking cursor changes."""
    picture = await client.wait_for(at_prompt, timeout_s=60)
    while True:
        await asyncio.sleep(1)
        now = await client.refresh()
        region = rfb.changed_region(picture, now)
        if region is None or region.bottom - region.top <= 2:
            return now
        picture = now


async def test_the_screen_is_qemus_own_and_keys_reach_the_guest(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        guest = await s.fleet.boot("web1")
        await s.fleet.tell("minimega", Verb.START, "web1")
        async with await viewer(s, "web1") as client:
            before = await settled(client)
            await client.press(rfb.ESCAPE)
            after = await client.wait_for(
                lambda p: (r := rfb.changed_region(before, p)) is not None and r.bottom - r.top > 20, timeout_s=30
            )
            assert at_prompt(after)
            await settled(client)
            await s.fleet.tell("minimega", Verb.STOP, "web1")  # so that nothing blinks between the two
            seen = await client.refresh()
        assert seen == picture_of_ppm(await s.fleet.screendump(guest))


async def test_two_viewers_see_one_screen(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        await s.fleet.boot("web1")
        async with await viewer(s, "web1") as one, await viewer(s, "web1") as other:
            assert await one.refresh() == await other.refresh()
            await one.close()
            await other.refresh()


async def closing(pipe: WebsocketPipe) -> str:
    async with asyncio.timeout(20):
        while await pipe.receive():
            pass
    return pipe.close_reason


async def test_a_vm_that_ends_closes_its_consoles_with_the_reason(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        await s.fleet.boot("web1")
        pipe = await open_websocket(s.websocket("web1"), headers={"Authorization": f"Bearer {s.token}"}, timeout_s=20)
        assert (await pipe.receive()).startswith(b"RFB")
        await s.fleet.tell("minimega", Verb.KILL, "web1")
        assert await closing(pipe) == "the VM closed its console"


@pytest.mark.parametrize(
    ("vm", "reason"),
    [("absent", 'no VM "absent"'), ("dead", 'VM "dead" has no console'), ("..%2f..%2fetc", "no VM")],
)
async def test_only_known_vms_with_a_console_are_proxied(tmp_path: Path, vm: str, reason: str) -> None:
    async with site(tmp_path) as s:
        s.fleet.add(Guest("dead", state="QUIT"))
        with contextlib.suppress(Unavailable):  # an address that is no route at all is refused before accepting
            pipe = await open_websocket(s.websocket(vm), headers={"Authorization": f"Bearer {s.token}"}, timeout_s=20)
            assert reason in await closing(pipe)


@pytest.mark.parametrize("who", ["nobody", "wrong token", "cookie without origin", "cookie from another page"])
async def test_a_console_needs_the_token_and_our_own_page(tmp_path: Path, who: str) -> None:
    async with site(tmp_path) as s:
        await s.fleet.boot("web1")
        cookie = {"Cookie": f"minimega_{s.port}={s.token}"}
        headers = {
            "nobody": {"Origin": s.origin},
            "wrong token": {"Authorization": "Bearer wrong"},
            "cookie without origin": cookie,
            "cookie from another page": cookie | {"Origin": "http://evil.example"},
        }[who]
        with pytest.raises(Unavailable, match="status 403"):
            await open_websocket(s.websocket("web1"), headers=headers, timeout_s=20)
        pipe = await open_websocket(s.websocket("web1"), headers=cookie | {"Origin": s.origin}, timeout_s=20)
        assert (await pipe.receive()).startswith(b"RFB")
        await pipe.close()


async def test_stopping_the_server_ends_consoles_and_frees_the_port(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        await s.fleet.boot("web1")
        pipe = await open_websocket(s.websocket("web1"), headers={"Authorization": f"Bearer {s.token}"}, timeout_s=20)
        await s.server.stop()
        await closing(pipe)
        assert s.server.url == ""
        assert await s.server.start(f"127.0.0.1:{s.port}") == s.url
