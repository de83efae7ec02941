"""Files between hosts in memory: whole or not at all, from several peers, whatever breaks meanwhile."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput, InvalidState, NotFound, PermissionDenied, Unavailable
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.files import library as library_module
from megatools.minimega.files import swarm as swarm_module
from megatools.minimega.files.content import CHUNK_BYTES
from megatools.minimega.files.images import Images
from megatools.minimega.files.library import Library
from megatools.minimega.files.sharing import shared_name
from megatools.minimega.files.store import PRIVATE, FileStore
from megatools.minimega.mesh.memory import MemoryNetwork


class Lab:
    """Hosts in memory, each with a file directory."""

    def __init__(self, path: Path, supervisor: Supervisor) -> None:
        self.path = path
        self.network = MemoryNetwork()
        self._supervisor = supervisor
        self.pulls: list[tuple[str, int, int]] = []

    def host(self, name: str, namespace: str = "") -> Library:
        root = self.path / name
        root.mkdir(exist_ok=True)
        node = self.network.join(name, namespace=namespace)
        pull = node.pull

        async def counted(target: str, what: str, offset: int, length: int, into: int) -> int:
            self.pulls.append((target, offset, length))
            await asyncio.sleep(0)
            return await pull(target, what, offset, length, into)

        node.pull = counted  # type: ignore[method-assign]
        return Library(node, FileStore(root), self._supervisor)


@asynccontextmanager
async def _lab(path: Path) -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        yield Lab(path, await stack.enter_async_context(Supervisor("test")))


def _content(size: int) -> bytes:
    return os.urandom(size)


async def test_a_file_comes_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        data = _content(2 * CHUNK_BYTES + 5)
        (one.store.root / "images").mkdir()
        (one.store.root / "images" / "a.qcow2").write_bytes(data)
        assert await two.get("images/a.qcow2") == ["images/a.qcow2"]
        assert (two.store.root / "images" / "a.qcow2").read_bytes() == data
        assert list((two.store.root / PRIVATE / "incoming").iterdir()) == []
        assert two.status() == []
        assert [row.name for row in two.store.rows("", recursive=True)] == ["images", "images/a.qcow2"]


async def test_empty_files_folders_and_globs(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        (one.store.root / "set").mkdir()
        for name in ("empty", "b.img", "c.img"):
            (one.store.root / "set" / name).write_bytes(b"" if name == "empty" else name.encode())
        assert await two.get("set/*.img") == ["set/b.img", "set/c.img"]
        assert await two.get("set") == ["set/b.img", "set/c.img", "set/empty"]
        assert (two.store.root / "set" / "empty").read_bytes() == b""


async def test_nobody_has_it(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        lab.host("kn1")
        with pytest.raises(NotFound, match="get gone: file not found"):
            await lab.host("kn2").get("gone")


@pytest.mark.parametrize("name", ["../x", "/../../etc/passwd", f"{PRIVATE}/incoming", "a/../../b", "link/passwd"])
async def test_no_name_leaves_the_directory(tmp_path: Path, name: str) -> None:
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        (one.store.root / "link").symlink_to("/etc")
        (two.store.root / "link").symlink_to("/etc")
        with pytest.raises(InvalidInput, match="outside"):
            await two.get(name)
        with pytest.raises(InvalidInput, match="outside"):
            one.store.delete(name)


async def test_a_link_out_of_the_directory_is_not_listed_to_others(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        (one.store.root / "d").mkdir()
        (one.store.root / "d" / "shadow").symlink_to("/etc/shadow")
        with pytest.raises(NotFound):
            await two.get("d")


async def test_several_sources_share_the_work(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        data = _content(24 * CHUNK_BYTES)
        hosts = [lab.host(f"kn{number}") for number in range(1, 4)]
        for host in hosts[:2]:
            (host.store.root / "x").write_bytes(data)
            await host.store.manifest(host.store.root / "x")
        await hosts[2].get("x")
        assert (hosts[2].store.root / "x").read_bytes() == data
        assert {target for target, _, _ in lab.pulls} == {"kn1", "kn2"}
        assert sum(length for _, _, length in lab.pulls) == len(data)


async def test_an_interrupted_transfer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm_module, "_ASK_AGAIN_S", 0.01)
    monkeypatch.setattr(swarm_module.Swarm.__init__, "__kwdefaults__", {"patience_s": 0.05})
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        data = _content(40 * CHUNK_BYTES)
        (one.store.root / "x").write_bytes(data)
        pull = lab.network.nodes["kn2"].pull

        async def dies(target: str, what: str, offset: int, length: int, into: int) -> int:
            if len(lab.pulls) == 2 and target in lab.network.nodes:
                lab.network.crash(target)
            return await pull(target, what, offset, length, into)

        lab.network.nodes["kn2"].pull = dies  # type: ignore[method-assign]
        with pytest.raises(Unavailable, match="nobody has the rest"):
            await two.get("x")
        assert not (two.store.root / "x").exists()
        fetched = sum(length for _, _, length in lab.pulls[:2])
        lab.pulls.clear()
        lab.network.nodes["kn2"].pull = pull  # type: ignore[method-assign]
        lab.host("kn1")
        await two.get("x")
        assert (two.store.root / "x").read_bytes() == data
        assert sum(length for _, _, length in lab.pulls) == len(data) - fetched


async def test_damage_on_the_way_is_fetched_again(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        data = _content(3 * CHUNK_BYTES)
        (one.store.root / "x").write_bytes(data)
        node = lab.network.nodes["kn2"]
        pull = node.pull
        damaged: list[int] = []

        async def damages(target: str, what: str, offset: int, length: int, into: int) -> int:
            got = await pull(target, what, offset, length, into)
            if not damaged:
                damaged.append(os.pwrite(into, b"\0" * 100, offset))
            return got

        node.pull = damages  # type: ignore[method-assign]
        await two.get("x")
        assert damaged
        assert (two.store.root / "x").read_bytes() == data


async def test_a_file_that_never_stands_still_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm_module, "_ASK_AGAIN_S", 0.01)
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        path = one.store.root / "x"
        path.write_bytes(_content(CHUNK_BYTES))
        node = lab.network.nodes["kn2"]
        pull = node.pull

        async def writes(target: str, what: str, offset: int, length: int, into: int) -> int:
            with path.open("ab") as stream:
                stream.write(b"more")
            return await pull(target, what, offset, length, into)

        node.pull = writes  # type: ignore[method-assign]
        with pytest.raises(InvalidState, match="changes while it is fetched"):
            await two.get("x")
        assert not (two.store.root / "x").exists()


async def test_a_content_that_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        data = _content(CHUNK_BYTES + 1)
        (one.store.root / "x").write_bytes(data)
        (one.store.root / "y").write_bytes(data)
        await two.get("x")
        lab.pulls.clear()
        await two.get("y")
        assert (two.store.root / "y").read_bytes() == data
        assert lab.pulls == []


async def test_the_newest_of_several_versions_is_taken(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        hosts = [lab.host(f"kn{number}") for number in range(1, 4)]
        for number, host in enumerate(hosts[:2]):
            (host.store.root / "x").write_bytes(b"%d" % number)
            os.utime(host.store.root / "x", (1000 + number, 1000 + number))
        await hosts[2].get("x")
        assert (hosts[2].store.root / "x").read_bytes() == b"1"


async def test_many_who_want_one_file_fetch_it_once(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        data = _content(2 * CHUNK_BYTES)
        (one.store.root / "x").write_bytes(data)
        await asyncio.gather(*(two.ensure(["x"]) for _ in range(5)))
        assert sum(length for _, _, length in lab.pulls) == len(data)


def test_what_is_shown_of_a_transfer() -> None:
    assert library_module.TransferRow.__struct_fields__ == ("filename", "tempdir", "completed", "queued")


# ---- nodes limited to a namespace


async def test_a_node_limited_to_a_namespace_sees_no_files(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, limited, full = lab.host("kn1"), lab.host("kn2", namespace="lab"), lab.host("kn3")
        (one.store.root / "secret").write_bytes(b"of others")
        for pattern in ("secret", "*", "."):
            with pytest.raises(PermissionDenied, match='kn1: node "kn2" may not see the files of other hosts'):
                await limited.get(pattern)
        with pytest.raises(PermissionDenied):
            await limited.ensure(["secret"])
        manifest = await one.store.manifest(one.store.root / "secret")  # it learned the id somehow
        with (tmp_path / "stolen").open("wb") as into, pytest.raises(PermissionDenied):
            await lab.network.nodes["kn2"].pull("kn1", shared_name(manifest.id), 0, manifest.size, into.fileno())
        assert await full.get("secret") == ["secret"]


async def test_a_node_limited_to_a_namespace_gets_the_images_of_its_launches(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, limited = lab.host("kn1"), lab.host("kn2", namespace="lab")
        backing = b"base.qcow2"
        header = b"QFI\xfb" + struct.pack(">IQI", 3, 20, len(backing)) + backing
        (one.store.root / "web.qcow2").write_bytes(header)
        (one.store.root / "base.qcow2").write_bytes(b"base")
        (one.store.root / "other").write_bytes(b"other")
        image = str(one.store.root / "web.qcow2")
        one.lend(lambda namespace: {"lab": [image], "red": [str(one.store.root / "other")]}.get(namespace, []))
        await Images(limited).provide([str(limited.store.root / "web.qcow2")])
        assert (limited.store.root / "web.qcow2").read_bytes() == header
        assert (limited.store.root / "base.qcow2").read_bytes() == b"base"
        with pytest.raises(PermissionDenied):
            await limited.get("other")
        one.lend(lambda _: [])
        (limited.store.root / "web.qcow2").unlink()
        with pytest.raises(PermissionDenied):
            await limited.get("web.qcow2")


async def test_a_directory_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, two = lab.host("kn1"), lab.host("kn2")
        (one.store.root / "x").write_bytes(_content(CHUNK_BYTES + 1))
        (one.store.root / PRIVATE).write_bytes(b"in the way")  # it serves all the same
        (two.store.root / PRIVATE).write_bytes(b"in the way")
        with pytest.raises(Unavailable, match="cannot make"):
            await two.get("x")
