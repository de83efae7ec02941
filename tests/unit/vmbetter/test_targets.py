"""Disks, ISO images and root filesystems: what is asked of other programs, on members a tree may have."""

import io
import struct
import tarfile
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter import boottest
from megatools.vmbetter.targets import ext4, grub, registry, rootfs, starter
from megatools.vmbetter.targets.registry import Wanted


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mtime = kind, 50
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> tarfile.TarFile:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as made:
        for info, content in members:
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    stream.seek(0)
    return tarfile.open(fileobj=stream)


def lines(opened: tarfile.TarFile, folder: Path, epoch: int = 100) -> list[str]:
    return list(ext4.commands(opened.getmembers(), ext4.Contents(opened, folder), epoch=epoch))


def test_contents_go_through_numbered_files_whatever_a_name_says(tmp_path: Path) -> None:
    opened = archive(
        (member("./a", tarfile.DIRTYPE, mode=0o750, uid=7), b""),
        (member('./a/../"x y"', mode=0o4755, gid=300), b"evil"),
        (member("./z", mtime=5000), b"late"),
    )
    made = lines(opened, tmp_path / "c")
    assert made[:3] == ['mkdir "a"', 'sif "a" mode 040750', 'sif "a" uid 7']
    assert f'write "{tmp_path}/c/1" """x y"""' in made
    assert 'sif """x y""" mode 0104755' in made
    assert 'sif """x y""" gid 300' in made
    assert (tmp_path / "c/1").read_bytes() == b"evil"
    assert not any(line.startswith('sif "z" mtime') for line in made), "times after the epoch are the epoch's"
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_hard_links_are_counted_after_they_are_made(tmp_path: Path) -> None:
    opened = archive(
        (member("./one"), b"same"),
        (member("./two", tarfile.LNKTYPE, linkname="./one"), b""),
        (member("./three", tarfile.LNKTYPE, linkname="one"), b""),
    )
    assert lines(opened, tmp_path / "c")[-3:] == ['ln "/one" "/three"', 'ln "/one" "/two"', 'sif "/one" links_count 3']


def test_nodes_links_and_capabilities(tmp_path: Path) -> None:
    capability = b"\x01\x00\x00\x02\x00 \xff".decode("utf-8", "surrogateescape")
    opened = archive(
        (member("./ping", pax_headers={"SCHILY.xattr.security.capability": capability}), b"#!"),
        (member("./null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666), b""),
        (member("./l", tarfile.SYMTYPE, linkname="/usr/../etc"), b""),
    )
    made = lines(opened, tmp_path / "c")
    assert 'mknod "null" c 1 3' in made
    assert 'symlink "l" "/usr/../etc"' in made
    assert f'ea_set -f "{tmp_path}/c/2" "ping" security.capability' in made
    assert (tmp_path / "c/2").read_bytes() == b"\x01\x00\x00\x02\x00 \xff"


def test_a_name_that_would_be_two_commands_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be put into a disk image"):
        lines(archive((member("./a\nkill_file /etc"), b"")), tmp_path / "c")


def test_identities_depend_on_the_tree_and_on_the_part() -> None:
    tree, other = [member("./a", size=1)], [member("./a", size=2)]
    assert ext4.identity(tree, "root") == ext4.identity([member("./a", size=1)], "root")
    assert len({ext4.identity(tree, "root"), ext4.identity(tree, "disk"), ext4.identity(other, "root")}) == 3


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Wanted(), ["initrd"]),
        (Wanted(disk=True), ["disk"]),
        (Wanted(initrd=True, disk=True, iso=True, rootfs=True, rootfs_tar=True),
         ["initrd", "disk", "iso", "rootfs", "rootfs-tar"]),
    ],
)  # fmt: skip
def test_targets_chosen(wanted: Wanted, names: list[str]) -> None:
    assert [target.name for target in registry.chosen(wanted)] == names


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(disk=True, disk_format="floppy"), 'disk format "floppy" is unknown'),
        (Wanted(disk=True, size="many"), 'invalid size: "many"'),
        (Wanted(size="1G"), "that of a disk"),
    ],
)
def test_targets_refused(wanted: Wanted, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        registry.chosen(wanted)


def test_grub_is_put_where_its_first_sector_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "i386-pc").mkdir()
    (tmp_path / "i386-pc/boot.img").write_bytes(b"B" * 512)
    monkeypatch.setattr(grub, "_FOLDER", tmp_path)
    core, disk = tmp_path / "core", tmp_path / "disk"
    core.write_bytes(b"C" * 1024)
    disk.write_bytes(b"." * 440 + b"table" + b"\0" * 4096)
    grub.embed(core, disk, at_sector=4)
    data = disk.read_bytes()
    assert struct.unpack_from("<Q", data, 0x5C) == (4,)
    assert data[440:445] == b"table"
    assert struct.unpack_from("<Q", data, 4 * 512 + 0x1F4) == (5,)
    assert data[5 * 512 : 5 * 512 + 512] == b"C" * 512


def test_modules_a_live_image_lacks() -> None:
    folder = "./usr/lib/modules/6.1"
    opened = archive(
        (member(folder, tarfile.DIRTYPE), b""),
        (member(f"{folder}/modules.dep"), b"kernel/fs/isofs/isofs.ko.xz:\nkernel/a-b.ko: kernel/c.ko\n"),
        (member(f"{folder}/modules.builtin"), b"kernel/drivers/block/loop.ko\n"),
    )
    assert starter.lacking(opened, "6.1", starter.LIVE_NEEDED | {"a_b"}) == {"squashfs", "overlay"}


def test_only_a_tree_is_replaced(tmp_path: Path) -> None:
    assert not rootfs.looks_like_tree(tmp_path)
    for name in ("etc", "usr", "proc"):
        (tmp_path / name).mkdir()
    assert rootfs.looks_like_tree(tmp_path)


def test_what_can_be_booted() -> None:
    files = {"kernel": Path("/k"), "initrd": Path("/i"), "raw": Path("/a,b.raw"), "lock": Path("/l")}
    found = boottest.machines(files)
    assert [machine.title for machine in found][:2] == ["initrd", "disk on BIOS"]
    assert "file=/a,,b.raw,format=raw,if=virtio,snapshot=on" in found[1].words
    with pytest.raises(InvalidInput):
        boottest.machines({"tar": Path("/t")})


def test_grub_takes_nothing_of_a_kernels_words_for_its_own() -> None:
    assert grub.quoted("quiet a=b,c") == "quiet a=b,c"
    assert grub.quoted("x=1;2 y=$z {a} #b 'c' d\\e") == r"x=1\;2 y=\$z \{a\} \#b \'c\' d\\e"
    assert grub.quoted('dyndbg="file a.c +p; $x" z') == r'dyndbg="file a.c +p; \$x" z'
