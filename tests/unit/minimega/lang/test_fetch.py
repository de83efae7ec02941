"""`file:`, `tar:` and `http:` arguments (spec B.4)."""

import asyncio
import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput, MegaError, NotFound, Unavailable
from megatools.minimega.lang.fetch import LocalFetcher, is_url
from megatools.minimega.lang.preprocess import expand_variables, preprocess_arguments


def fetch(files: Path, url: str, max_bytes: int = 1 << 20) -> str:
    return asyncio.run(LocalFetcher(files, max_bytes=max_bytes).fetch(url))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("file:x", True),
        ("file:", False),
        ("http://x/y", True),
        ("http:x", False),
        ("tar:x.tgz", True),
        ("ftp://x", False),
        ("a:b", False),
    ],
)
def test_is_url(text: str, url: bool) -> None:
    assert is_url(text) is url


def test_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/disk").write_text("x")
    assert fetch(tmp_path, "file:sub/disk") == str(tmp_path / "sub/disk")
    assert fetch(tmp_path, "file:/sub/disk") == str(tmp_path / "sub/disk")
    with pytest.raises(NotFound, match="'gone' is not in the file directory"):
        fetch(tmp_path, "file:gone")
    with pytest.raises(InvalidInput, match="outside of the file directory"):
        fetch(tmp_path, "file:../secret")


def tarball(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 2
            tar.addfile(member, io.BytesIO(b"hi"))


def test_tar(tmp_path: Path) -> None:
    tarball(tmp_path / "root.tar.gz", ["root/a", "root/sub/b"])
    assert fetch(tmp_path, "tar:root.tar.gz") == str(tmp_path / "root")
    assert (tmp_path / "root/sub/b").read_text() == "hi"
    (tmp_path / "root/a").write_text("changed")
    assert fetch(tmp_path, f"tar:{tmp_path}/root.tar.gz") == str(tmp_path / "root")
    assert (tmp_path / "root/a").read_text() == "changed", "unpacked once only"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "root.tar.gz"]


@pytest.mark.parametrize("names", [["a/x", "b/y"], ["file"], ["../x/y"], ["/etc/x"], []])
def test_tarballs_of_another_shape_are_refused(tmp_path: Path, names: list[str]) -> None:
    tarball(tmp_path / "bad.tar", names)
    with pytest.raises(InvalidInput):
        fetch(tmp_path, "tar:bad.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar"]


def test_what_is_no_tarball(tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_text("not a tarball")
    with pytest.raises(Unavailable, match="unpack"):
        fetch(tmp_path, "tar:bad.tar")
    with pytest.raises(NotFound):
        fetch(tmp_path, "tar:gone.tar")


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/sub/a%20b" else 404)
        self.end_headers()
        if self.path == "/sub/a%20b":
            self.wfile.write(b"x" * 1000)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def web_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_download(tmp_path: Path) -> None:
    with web_server() as url:
        assert fetch(tmp_path, f"{url}/sub/a%20b") == str(tmp_path / "sub/a b")
        assert (tmp_path / "sub/a b").stat().st_size == 1000
        with pytest.raises(NotFound) as caught:
            fetch(tmp_path, f"{url}/gone")
        assert caught.value.message == "get /gone: file not found"
    assert fetch(tmp_path, f"{url}/sub/a%20b") == str(tmp_path / "sub/a b"), "what is there is not downloaded again"
    with pytest.raises(Unavailable, match="get 'http"):
        fetch(tmp_path, f"{url}/other")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a b", "sub"]


def test_downloads_have_a_limit(tmp_path: Path) -> None:
    with web_server() as url, pytest.raises(Unavailable, match="limit of 999 bytes"):
        fetch(tmp_path, f"{url}/sub/a%20b", max_bytes=999)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "url", ["http://localhost/", "http://localhost", "https://localhost/../x", "http://[::1/x", "http:///x"]
)
def test_urls_that_name_no_file(tmp_path: Path, url: str) -> None:
    with pytest.raises(MegaError):
        fetch(tmp_path, url)


def test_variables() -> None:
    environment = {"A": "1", "AB": "2"}
    assert expand_variables("$A-${AB}-$AB-$C-${C}$", environment) == "1-2-2--$"


def test_arguments(tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("")
    arguments = {"a": "$A", "b": ("file:$A", "x"), "c": True}
    done = asyncio.run(preprocess_arguments(arguments, {"A": "disk"}, LocalFetcher(tmp_path)))
    assert done == {"a": "disk", "b": (str(tmp_path / "disk"), "x"), "c": True}
