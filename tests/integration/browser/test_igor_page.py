"""igor's page in a real chromium, over HTTPS: sign in, the rack map, the form, the buttons, other people's changes."""

import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Page, expect

from megatools.igor.api.governing import token_hash
from megatools.igor.store.store import Store
from tests.integration.browser.browsing import browsing
from tests.support.igor import Igor
from tests.support.images import REPOSITORY
from tests.support.requires import requires

pytestmark = [requires("chromium", "openssl"), pytest.mark.timeout(180)]

KERNEL = b"\0" * 0x1FE + b"\x55\xaa" + b"\0\0HdrS" + bytes(512)
INITRD = b"070701" + b"0" * 506


class Site(Igor):
    """A cluster of eight nodes, `igor web` serving it, and a token."""

    url = token = ""

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """The status and body of one request of a program."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url.rstrip("/") + path, body, named)
        trust = ssl.create_default_context(cafile=str(self.root / "igor/state/web/certificate.pem"))
        trust.check_hostname = False  # the machine's name need not be what we connect to
        try:
            with urllib.request.urlopen(request, timeout=60, context=trust) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The site; its server is told to end, and must end well."""
    one = Site(tmp_path)
    one.root.mkdir()
    one.configure(goodfaith=False)
    for name, content in (("kernel", KERNEL), ("initrd", INITRD)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "nodes.csv").write_text("name,mac\n" + "".join(f"kn{n},52:54:00:00:00:{n:02x}\n" for n in range(1, 9)))
    one.run("nodes", "import", "nodes.csv")
    one.token = one.run("token").stdout.strip()
    argv = [
        sys.executable,
        "-m",
        "megatools.igor.cli.main",
        "-config",
        str(one.config),
        "web",
        "-listen",
        "127.0.0.1:0",
    ]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(REPOSITORY / "src")}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    assert server.stdout is not None
    try:
        one.url = server.stdout.readline().strip()
        assert one.url.startswith("https://127.0.0.1:"), (tmp_path / "log").read_text()
        yield one
    finally:
        server.terminate()
        status = server.wait(60)
        server.stdout.close()
    assert status in (0, -15)
    assert (tmp_path / "log").read_text() == ""


async def _sign_in(page: Page, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")


async def test_a_day_at_the_page(site: Site) -> None:
    async with browsing(site.url) as page:
        await _sign_in(page, "wrong")
        await expect(page.get_by_role("alert")).to_have_text("This token is not known, or its time is over.")
        await _sign_in(page, site.token)
        await expect(page.locator("#link")).to_have_text("live")
        await expect(page.locator(".cell[data-node]")).to_have_count(8)
        await expect(page.get_by_text("Nothing is reserved.")).to_be_visible()
        cookies = await page.context.cookies()
        assert [(c["httpOnly"], c["secure"], c["sameSite"]) for c in cookies] == [(True, True, "Strict")]

        await page.locator("[data-node='2']").click()
        await page.locator("[data-node='4']").click(modifiers=["Shift"])
        await expect(page.locator("[name=nodes]")).to_have_value("kn[2-4]")
        await page.get_by_label("Name").fill("testing")
        await page.get_by_label("Kernel", exact=True).set_input_files(site.base / "kernel")
        await page.get_by_label("Initrd").set_input_files(site.base / "initrd")
        await page.get_by_role("button", name="Reserve", exact=True).click()
        await expect(page.locator("#outcome")).to_contain_text('reserved "testing"')
        await expect(page.locator("[data-node='3']")).to_have_attribute("data-is", "mine")
        await expect(page.locator(".bar")).to_have_attribute("data-is", "mine")
        assert (site.root / "igor/testing-kernel").read_bytes() == KERNEL
        assert (site.root / "igor/testing-initrd").read_bytes() == INITRD

        row = page.locator("tbody tr", has_text="testing")
        await expect(row.locator(".left")).to_contain_text("h")
        await page.get_by_role("button", name="Extend testing").click()
        await page.get_by_label("By how many hours").fill("48")
        await page.locator("#longer").get_by_role("button", name="Extend").click()
        await expect(row.locator(".left")).to_contain_text("2 d")

        await page.get_by_label("Name").fill("late")
        await page.get_by_label("Nodes", exact=True).fill("kn3")
        await page.get_by_role("button", name="Reserve", exact=True).click()
        await expect(page.locator("#outcome")).to_contain_text('"kn3" is held by "testing"')
        await page.get_by_role("button", name="When could it start?").click()
        await expect(page.locator("#outcome")).to_contain_text('kn3 (when "testing" ends)')

        site.run("sub", "-r", "other", "-k", "kernel", "-i", "initrd", "-w", "kn8")  # somebody at a terminal
        await expect(page.locator("[data-node='8']")).not_to_have_attribute("data-is", "free")
        await page.get_by_label("Filter").fill("other")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.get_by_label("Filter").fill("")
        await page.get_by_role("button", name="End testing", exact=True).click()
        await page.locator("#sure").get_by_role("button", name="End it").click()
        await expect(page.locator("[data-node='3']")).to_have_attribute("data-is", "free")
        assert "testing" not in site.run("show").stdout
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading")).to_have_text("This page needs your token")


def test_programs_need_a_token_and_other_pages_get_nothing(site: Site) -> None:
    bearer = f"Bearer {site.token}"
    assert site.ask("/metrics")[0] == site.ask("/api", b'{"op":"show"}')[0] == site.ask("/events")[0] == 401
    assert site.ask("/api", b'{"op":"show"}', Authorization="Bearer nonsense")[0] == 401
    cookie = f"igor={site.token}"
    assert site.ask("/api", b'{"op":"show"}', Cookie=cookie, Origin="https://elsewhere.test")[0] == 403
    assert site.ask("/api", b'{"op":"show"}', Cookie=cookie)[0] == 403
    assert site.ask("/api", b'{"op":"show"}', Cookie=cookie, Origin=site.url.rstrip("/"))[0] == 200
    assert site.ask("/api", b'{"op":"make-token"}', Authorization=bearer)[0] == 403
    assert site.ask("/api", b'{"op":"delete","name":"none"}', Authorization=bearer)[0] == 404
    assert site.ask("/static/../pages.py")[0] in (401, 404)


def test_programs_reserve_with_files_and_metrics_tell(site: Site) -> None:
    bearer = f"Bearer {site.token}"
    line = msgspec.json.encode({"op": "submit", "name": "far", "count": 3, "kernel": 0, "initrd": 1}) + b"\n"
    sizes = f"{len(KERNEL)},{len(INITRD)}"
    for body in (line + KERNEL, line + KERNEL + INITRD + b"x"):
        status, answer = site.ask("/api", body, Authorization=bearer, Igor_Files=sizes)
        assert (status, b"InvalidInput" in answer) == (400, True)
    status, answer = site.ask("/api", line + KERNEL + INITRD, Authorization=bearer, Igor_Files=sizes)
    assert status == 200, answer
    assert (site.root / "igor/far-kernel").read_bytes() == KERNEL
    status, text = site.ask("/metrics", Authorization=bearer)
    assert status == 200
    assert b'igor_nodes{is="free"} 5.0' in text
    assert b'igor_nodes{is="reserved"} 3.0' in text
    assert b'igor_reservations{state="active"} 1.0' in text


def test_a_token_gives_its_owners_rights_and_no_more(site: Site) -> None:
    done = site.base / "done"
    site.run("sub", "-r", "roots", "-k", "kernel", "-i", "initrd", "-w", "kn1", "-t", "30m")
    store = Store(site.root / "igor/state", site.root)
    with store.change() as change:
        change.add_token(token_hash("nobody's"), 65534, "nobody", int(time.time()) + 3600, 0)
        change.add_token(token_hash("old"), 0, "root", int(time.time()) - 1, 0)
    store.close()
    nobody = "Bearer nobody's"
    assert site.ask("/api", b'{"op":"delete","name":"roots"}', Authorization=nobody)[0] == 403
    assert site.ask("/api", b'{"op":"block","nodes":"kn2","reason":"mine"}', Authorization=nobody)[0] == 403
    assert site.ask("/api", b'{"op":"show"}', Authorization="Bearer old")[0] == 401
    hook = site.base / "hook"
    hook.write_text(f"#!/bin/sh\nprintf %s $IGOR_NODELIST > {done}.new && mv {done}.new {done}\n")
    hook.chmod(0o755)
    asked = {"op": "submit", "name": "hooked", "nodes": "kn[5-6]", "kernel": 0, "hook_start": str(hook)}
    body = msgspec.json.encode(asked) + b"\n" + KERNEL
    status, answer = site.ask("/api", body, Authorization=f"Bearer {site.token}", Igor_Files=str(len(KERNEL)))
    assert status == 200, answer
    deadline = time.monotonic() + 60
    while not done.exists():
        assert time.monotonic() < deadline, "what follows from a change is done, without anybody asking again"
        time.sleep(0.05)
    assert done.read_text() == "kn5,kn6"


def test_the_command_line_reaches_another_machine(site: Site) -> None:
    away = Site(site.base / "away")  # knows the cluster, has no store
    away.base.mkdir()
    away.configure()
    trusted = site.root / "igor/state/web/certificate.pem"
    with_line = {"IGOR_URL": site.url, "IGOR_TOKEN": site.token, "IGOR_CA": str(trusted)}
    away.environment = with_line
    files = ("-k", str(site.base / "kernel"), "-i", str(site.base / "initrd"))
    away.run("sub", "-r", "far", *files, "-n", "2")
    assert (site.root / "igor/far-initrd").read_bytes() == INITRD
    assert "far" in away.run("show").stdout
    assert not away.root.exists()
    refused = away.run("sub", "-r", "far", *files, "-n", "1", check=False)
    assert refused.returncode == 4, refused.stderr  # AlreadyExists, as if it were here
    for change, status, text in (
        ({"IGOR_TOKEN": "wrong"}, 6, "token"),
        ({"IGOR_CA": ""}, 7, "is not trusted"),
        ({"IGOR_URL": "https://127.0.0.1:1/"}, 7, "no igor answers"),
        ({"IGOR_URL": "http://127.0.0.1/"}, 2, "not an https address"),
        ({"IGOR_TOKEN": ""}, 2, "no token"),
    ):
        away.environment = with_line | change
        refused = away.run("show", check=False)
        assert (refused.returncode, text in refused.stderr) == (status, True), refused.stderr
