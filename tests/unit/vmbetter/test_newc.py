"""The archive writer: what it writes is read back with a reader of the format's own rules."""

import io
import stat
import tarfile
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter.targets import initrd, newc


def tar(*members: tuple[str, bytes, str, dict]) -> tarfile.TarFile:
    """Members as name, type, content or link target, and fields."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind, content, fields in members:
            member = tarfile.TarInfo(name)
            member.type, member.mtime = kind, 5_000_000_000
            for field, value in fields.items():
                setattr(member, field, value)
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content.encode()))
            else:
                member.linkname = content
                archive.addfile(member)
    stream.seek(0)
    return tarfile.open(fileobj=stream)


def read(data: bytes) -> dict[str, tuple[dict[str, int], bytes]]:
    """Entries of a newc archive by name, in order, as cpio(5) has the format."""
    fields = "ino mode uid gid nlink mtime size dmaj dmin rmaj rmin namesize check".split()
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        head = {name: int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n, name in enumerate(fields)}
        name = data[at + 110 : at + 109 + head["namesize"]].decode()
        at += 110 + head["namesize"]
        at += -at % 4
        if name == "TRAILER!!!":
            assert len(data) % 512 == 0
            return found
        found[name] = (head, data[at : at + head["size"]])
        at += head["size"]
        at += -at % 4


def packed(archive: tarfile.TarFile, **named) -> bytes:
    target = io.BytesIO()
    newc.write(archive, target, epoch=1000, keep=initrd.belongs, **named)
    return target.getvalue()


MEMBERS = [
    ("./", tarfile.DIRTYPE, "", {"mode": 0o755}),
    ("./z", tarfile.REGTYPE, "hello", {"mode": 0o4755, "uid": 3, "gid": 4}),
    ("./dev/null", tarfile.CHRTYPE, "", {"mode": 0o666, "devmajor": 1, "devminor": 3}),
    ("./bin", tarfile.SYMTYPE, "usr/bin", {"mode": 0o777}),
    ("./a", tarfile.LNKTYPE, "./z", {}),
    ("./boot/vmlinuz-6", tarfile.REGTYPE, "kernel", {}),
    ("./etc/ssh/ssh_host_rsa_key", tarfile.REGTYPE, "secret", {}),
]


def test_every_kind_of_entry_is_written() -> None:
    found = read(packed(tar(*MEMBERS), extra={"init": "/sbin/init"}))
    assert list(found) == [".", "a", "bin", "dev/null", "init", "z"]
    assert stat.S_ISDIR(found["."][0]["mode"])
    assert found["bin"][1] == b"usr/bin"
    assert stat.S_ISCHR(found["dev/null"][0]["mode"])
    assert (found["dev/null"][0]["rmaj"], found["dev/null"][0]["rmin"]) == (1, 3)
    head = found["z"][0]
    assert (head["uid"], head["gid"], head["mtime"]) == (3, 4, 1000)
    assert head["mode"] == stat.S_IFREG | 0o4755


def test_a_program_is_added_where_the_tree_has_none_of_its_name() -> None:
    found = read(packed(tar(*MEMBERS), extra={"init": b"#!/bin/sh\n", "z": b"other"}))
    assert found["init"][1] == b"#!/bin/sh\n"
    assert found["init"][0]["mode"] == stat.S_IFREG | 0o755
    assert b"other" not in (found["a"][1], found["z"][1])


def test_memory_is_counted_in_pages() -> None:
    target = io.BytesIO()
    assert newc.write(tar(*MEMBERS), target, epoch=1, keep=initrd.belongs) == 4096  # one file of five bytes
    assert (
        initrd.memory_needed_mib(0, 0) < initrd.memory_needed_mib(0, 50 << 20) < initrd.memory_needed_mib(50 << 20, 0)
    )


def test_hard_links_share_an_inode_and_carry_their_content_once() -> None:
    found = read(packed(tar(*MEMBERS)))
    assert found["a"][0]["ino"] == found["z"][0]["ino"]
    assert found["a"][0]["nlink"] == found["z"][0]["nlink"] == 2
    assert (found["a"][1], found["z"][1]) == (b"hello", b"")


def test_the_order_of_members_does_not_matter() -> None:
    assert packed(tar(*MEMBERS)) == packed(tar(MEMBERS[0], *reversed(MEMBERS[1:4]), *MEMBERS[4:]))


def test_a_file_too_large_for_the_format_is_refused(tmp_path: Path) -> None:
    large = tarfile.TarInfo("./srv/large")
    large.size = 1 << 32
    with (tmp_path / "large.tar").open("wb") as stream:  # all of it a hole
        stream.write(large.tobuf(tarfile.PAX_FORMAT))
        stream.truncate(stream.tell() + large.size + 1024)
    with tarfile.open(tmp_path / "large.tar") as archive, pytest.raises(InvalidInput) as caught:
        newc.write(archive, io.BytesIO(), epoch=1, keep=initrd.belongs)
    assert caught.value.message == '"/srv/large" has 4294967296 bytes, a file of an initrd at most 4294967295'
    assert "--disk" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["etc/machine-id", "etc/ssh/ssh_host_ed25519_key", "boot/config-6", "var/log/dpkg.log"]
)
def test_what_is_the_builders_or_secret_is_left_out(name: str) -> None:
    assert not initrd.belongs(name)
    assert initrd.belongs("etc/hostname")
