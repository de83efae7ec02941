"""A chromium for tests of the pages, and the pixels of the console it shows."""

import base64
import contextlib
from collections.abc import AsyncIterator

from playwright.async_api import Page, async_playwright, expect

from megatools.hostkit.picture import Picture
from megatools.hostkit.proc import which

PATIENCE_MS = 60_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=PATIENCE_MS)


@contextlib.asynccontextmanager
async def browsing(url: str) -> AsyncIterator[Page]:
    """A page of a new browser at an address; fails when a script fails or asks anything but that server."""
    complaints: list[str] = []
    origin = "/".join(url.split("/")[:3])
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(which("chromium")), args=FLAGS)
        try:
            page = await browser.new_page(viewport={"width": 1200, "height": 700}, ignore_https_errors=True)
            page.set_default_timeout(PATIENCE_MS)
            page.on("pageerror", lambda error: complaints.append(f"script failed: {error}"))
            page.on(
                "request",
                lambda request: (
                    None if request.url.startswith((origin, "data:", "blob:")) else complaints.append(request.url)
                ),
            )
            page.on(
                "console",
                lambda message: complaints.append(message.text) if "Security Policy" in message.text else None,
            )
            await page.goto(url)
            yield page
        finally:
            await browser.close()
    assert complaints == []


async def canvas(page: Page) -> Picture:
    """The pixels of noVNC's canvas at the guest's own resolution."""
    got = await page.evaluate(
        """() => { const c = document.querySelector('#screen canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let s = '';
        for (let i = 0; i < d.length; i += 32768) s += String.fromCharCode(...d.subarray(i, i + 32768));
        return [c.width, c.height, btoa(s)]; }"""
    )
    rgba = base64.b64decode(got[2])
    bgrx = bytearray(len(rgba))
    bgrx[0::4], bgrx[1::4], bgrx[2::4] = rgba[2::4], rgba[1::4], rgba[0::4]
    return Picture(got[0], got[1], bytes(bgrx))
