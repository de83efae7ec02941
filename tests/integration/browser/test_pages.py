"""The pages in a real chromium: the live list, the buttons, and a console whose guest sees the keys."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from megatools.hostkit.picture import Picture
from megatools.minimega.vm.screens import picture_of_ppm
from megatools.minimega.web.fleet import Verb
from tests.integration.browser.browsing import PATIENCE_MS, browsing, canvas
from tests.support.requires import requires
from tests.support.site import Guest, Site, site

pytestmark = [requires("chromium"), pytest.mark.timeout(240)]


async def test_the_plain_address_asks_for_the_token(tmp_path: Path) -> None:
    async with site(tmp_path) as s, browsing(s.origin + "/") as page:
        await expect(page.get_by_role("heading")).to_have_text("This page needs its token")
        await page.get_by_label("Token").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("That is not this daemon's token.")
        await page.get_by_label("Token").fill(s.token)
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("No virtual machines yet")).to_be_visible()
        cookies = await page.context.cookies()
        assert [(c["httpOnly"], c["sameSite"]) for c in cookies] == [(True, "Strict")]


async def test_the_list_follows_the_vms(tmp_path: Path) -> None:
    async with site(tmp_path) as s, browsing(s.url) as page:
        assert page.url == s.origin + "/"  # the token has left the address
        await expect(page.get_by_text("No virtual machines yet")).to_be_visible()
        web = s.fleet.add(Guest("web1", tags='{"role":"<b>front</b>"}'))
        row = page.locator("tbody tr", has_text="web1")
        await expect(row.locator(".state")).to_have_text("BUILDING")
        await expect(row.locator(".tag")).to_have_text("role: <b>front</b>")
        s.fleet.add(Guest("db1", "lab", state="PAUSED"))
        await expect(page.locator("tbody tr")).to_have_count(2)
        web.state, web.ip = "RUNNING", "[10.0.0.7]"
        s.fleet.changed()
        await expect(row.locator(".state")).to_have_text("RUNNING")
        await expect(row).to_contain_text("10.0.0.7")
        await expect(page.get_by_text("2 VMs, 1 running")).to_be_visible()
        await page.get_by_label("Filter").fill("lab paused")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.get_by_label("Filter").fill("")
        s.fleet.guests.remove(web)
        s.fleet.changed()
        await expect(page.locator("tbody tr")).to_have_count(1)


async def test_hosts_whose_vms_are_not_known_are_named(tmp_path: Path) -> None:
    async with site(tmp_path) as s, browsing(s.url) as page:
        await expect(page.get_by_text("No virtual machines yet")).to_be_visible()
        await expect(page.locator("#silent")).to_be_hidden()
        s.fleet.hushed = {"kn2": "it left the mesh", "<b>kn3</b>": "it does not answer"}
        s.fleet.changed()
        await expect(page.locator("#silent")).to_have_text("kn2: it left the mesh. <b>kn3</b>: it does not answer.")
        s.fleet.hushed = {}
        s.fleet.changed()
        await expect(page.locator("#silent")).to_be_hidden()


async def test_a_lost_server_is_shown_and_comes_back(tmp_path: Path) -> None:
    async with site(tmp_path) as s, browsing(s.url) as page:
        s.fleet.add(Guest("one"))
        await expect(page.locator("#link")).to_have_text("live")
        port = s.port
        await s.server.stop()
        await expect(page.locator("#link")).to_contain_text("connection lost")
        s.fleet.add(Guest("two"))
        await s.server.start(f"127.0.0.1:{port}")
        await expect(page.locator("#link")).to_have_text("live")
        await expect(page.locator("tbody tr")).to_have_count(2)


@requires("qemu-system-x86_64")
async def test_the_buttons_work_from_the_keyboard_and_errors_are_shown(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        guest = await s.fleet.boot("web1")
        s.fleet.add(Guest("old", state="QUIT"))
        async with browsing(s.url) as page:
            await page.get_by_role("button", name="Start web1").press("Enter")
            await expect(page.get_by_role("button", name="Stop web1")).to_be_enabled()
            assert guest.state == "RUNNING"
            await page.get_by_role("button", name="Stop web1").press("Enter")
            await expect(page.locator("tbody tr", has_text="web1").locator(".state")).to_have_text("PAUSED")
            await page.get_by_role("button", name="Kill web1").press("Enter")
            await page.get_by_role("button", name="Keep it").press("Enter")
            assert guest.child is not None
            await expect(page.get_by_role("button", name="Kill web1")).to_be_enabled()  # it rests while one asks
            await page.get_by_role("button", name="Kill web1").press("Enter")
            await page.get_by_role("button", name="Kill", exact=True).press("Enter")
            await expect(page.locator("tbody tr", has_text="web1").locator(".state")).to_have_text("QUIT")
            assert guest.child is None
            await page.get_by_role("button", name="Start old").press("Enter")
            await expect(page.locator("#alerts")).to_contain_text('VM "old" cannot start: it is QUIT')


async def shows_what_qemu_has(s: Site, guest: Guest, page: Page) -> Picture:
    """Hold the guest until the canvas equals QEMU's own picture of its screen, and return it."""
    await s.fleet.tell(guest.namespace, Verb.STOP, guest.name)
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            mine = picture_of_ppm(await s.fleet.screendump(guest))
            if await canvas(page) == mine:
                break
            await asyncio.sleep(0.2)
    await s.fleet.tell(guest.namespace, Verb.START, guest.name)
    return mine


async def until_text(s: Site, guest: Guest, lines: int) -> None:
    """Wait until the guest's screen has text below its first `lines` lines of 16 pixels."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            picture = picture_of_ppm(await s.fleet.screendump(guest))
            if picture.width == 720 and any(any(picture.row(y)) for y in range(lines * 16, picture.height)):
                return
            await asyncio.sleep(0.1)


@requires("qemu-system-x86_64")
async def test_a_console_shows_the_guests_screen_and_types_into_it(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        guest = await s.fleet.boot("web1", namespace="lab")
        async with browsing(s.url) as page:
            await page.get_by_role("button", name="Start web1").click()
            await page.get_by_role("link", name="web1").click()
            await expect(page.locator("#notice")).to_be_hidden()
            await until_text(s, guest, 2)  # "Press ESC for boot menu."
            before = await shows_what_qemu_has(s, guest, page)
            await page.locator("#screen canvas").focus()
            await page.keyboard.press("Escape")
            await until_text(s, guest, 6)  # the menu
            after = await shows_what_qemu_has(s, guest, page)
            assert before != after
            await page.get_by_role("button", name="Text…").click()
            await page.locator("#words").fill("1")  # the menu's first entry: the one that is there
            await page.get_by_role("button", name="Type").click()
            await until_text(s, guest, 8)  # "Booting from ROM..."
            booted = await shows_what_qemu_has(s, guest, page)
            assert booted not in (before, after)
            await s.fleet.tell("lab", Verb.KILL, "web1")
            await expect(page.locator("#reason")).to_have_text("The VM is QUIT. Start it to get its console back.")
            await expect(page.locator("#state")).to_have_text("QUIT")


@requires("qemu-system-x86_64")
async def test_a_console_comes_back_after_the_line_broke(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        await s.fleet.boot("web1")
        port = s.port
        async with browsing(s.url) as page:
            await page.goto(s.origin + "/minimega/vm/web1/connect/")
            await expect(page.locator("#notice")).to_be_hidden()
            await s.server.stop()
            await expect(page.locator("#reason")).to_contain_text("disconnected")
            await s.server.start(f"127.0.0.1:{port}")
            await expect(page.locator("#notice")).to_be_hidden()


@requires("qemu-system-x86_64")
async def test_screens_are_shown_side_by_side(tmp_path: Path) -> None:
    async with site(tmp_path) as s:
        for name in ("web1", "web2", "held"):
            await s.fleet.boot(name)
        for name in ("web1", "web2"):
            await s.fleet.tell("minimega", Verb.START, name)
        s.fleet.add(Guest("old", state="QUIT"))
        async with browsing(s.url) as page:
            await page.get_by_role("button", name="Screens").click()
            await expect(page.locator(".card")).to_have_count(4)
            await expect(page.locator(".card img")).to_have_count(2)
            await expect(page.locator(".card", has_text="old")).to_contain_text("no screen")
            await expect(page.locator(".card", has_text="held")).to_contain_text("not running")
