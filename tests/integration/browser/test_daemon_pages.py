"""The whole way: a real daemon, its VMs, its pages, and a chromium that looks at them."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from megatools.hostkit.picture import Picture, changed_region
from tests.integration.browser.browsing import PATIENCE_MS, browsing, canvas
from tests.support.daemon import Daemon, daemon_at
from tests.support.requires import requires

pytestmark = [requires("chromium", "qemu-system-x86_64"), pytest.mark.root, pytest.mark.timeout(300)]


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with daemon_at() as one:
        one.start()
        one.ask("vm config memory 64")
        one.ask("vm config qemu-append -boot menu=on,splash-time=65000")
        yield one


def port_of(url: str) -> str:
    return url.split(":")[2].split("/", maxsplit=1)[0]


async def ask(daemon: Daemon, line: str) -> str:
    return await asyncio.to_thread(daemon.ask, line)


async def console_equals_screenshot(daemon: Daemon, page: Page, file: Path) -> Picture:
    """Wait until the canvas and QEMU's own screendump agree; a cursor may blink between the two."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            await ask(daemon, f"vm screenshot web1 file {file}")
            shown = await canvas(page)
            if not shown.is_blank() and shown.png() == file.read_bytes():
                return shown
            await asyncio.sleep(0.1)


async def changed_much(page: Page, before: Picture) -> None:
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            region = changed_region(before, await canvas(page))
            if region is not None and region.bottom - region.top > 20:
                return
            await asyncio.sleep(0.1)


async def test_list_console_and_restart(daemon: Daemon, tmp_path: Path) -> None:
    url = await ask(daemon, "vnc serve 127.0.0.1:0")
    url = url[url.index("http") :]
    async with browsing(url) as page:
        await expect(page.get_by_text("No virtual machines yet")).to_be_visible()
        await ask(daemon, "vm launch kvm web1")
        row = page.locator("tbody tr", has_text="web1")
        await expect(row.locator(".state")).to_have_text("BUILDING")
        await ask(daemon, "vm tag web1 role front")
        await expect(row.locator(".tag")).to_have_text("role: front")
        await page.get_by_role("button", name="Start web1").press("Enter")
        await expect(row.locator(".state")).to_have_text("RUNNING")
        assert (await asyncio.to_thread(daemon.vm, "web1"))["state"] == "RUNNING"

        await page.get_by_role("link", name="web1").click()
        await expect(page.locator("#notice")).to_be_hidden()
        before = await console_equals_screenshot(daemon, page, tmp_path / "a.png")
        while before.width != 720:  # the BIOS has not taken the screen yet
            before = await console_equals_screenshot(daemon, page, tmp_path / "a.png")
        await page.locator("#screen canvas").focus()
        await page.keyboard.press("Escape")
        await changed_much(page, before)
        menu = await console_equals_screenshot(daemon, page, tmp_path / "b.png")
        assert menu != before

        await asyncio.to_thread(daemon.kill9)
        await expect(page.locator("#reason")).to_contain_text("disconnected")
        await asyncio.to_thread(daemon.start)
        again = await ask(daemon, f"vnc serve 127.0.0.1:{port_of(url)}")
        again = again[again.index("http") :]
        assert again != url
        await expect(page.locator("#reason")).to_contain_text("its token is new")
        await page.goto(again)
        await expect(row.locator(".state")).to_have_text("RUNNING")
        await page.get_by_role("link", name="web1").click()
        await expect(page.locator("#notice")).to_be_hidden()
        await console_equals_screenshot(daemon, page, tmp_path / "c.png")

        await page.get_by_role("button", name="Kill").click()
        await page.locator("#sure button[value=yes]").click()
        await expect(page.locator("#reason")).to_have_text("The VM is QUIT. Start it to get its console back.")
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator("#notice")).to_be_hidden()
        await console_equals_screenshot(daemon, page, tmp_path / "d.png")


def test_the_commands_say_what_they_did(daemon: Daemon, tmp_path: Path) -> None:
    assert daemon.ask("vnc novnc").endswith("static/novnc")
    assert "no noVNC" in daemon.refused(f"vnc novnc {tmp_path}")
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "rfb.js").touch()
    daemon.ask(f"web novnc {tmp_path}")
    assert daemon.ask("vnc novnc").endswith(str(tmp_path))
    daemon.ask("clear vnc")
    assert daemon.ask("web novnc").endswith("static/novnc")
    assert 'port "70000" is not a number in 0..65535' in daemon.refused("vnc serve :70000")
    answer = daemon.ask("web 127.0.0.1:0")
    assert re.search(r"http://localhost:\d+/\?token=[\w-]{40,}$", answer)
    for line in ("vnc serve", "web", "web 8081"):
        assert daemon.refused(line).startswith(f"vnc already running on: localhost:{port_of(answer)}")
