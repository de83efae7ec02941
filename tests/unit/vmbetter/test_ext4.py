"""The script for debugfs, which could write files of this host: a tree's names never become commands of it."""

import io
import tarfile
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter.targets import ext4


def script(folder: Path, *members: tarfile.TarInfo) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as archive:
        return list(ext4.commands(list(members), ext4.Contents(archive, folder), epoch=9))


def folder_of(name: str, **attributes: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"./{name}")
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in attributes.items()}
    return info


def test_attributes_come_from_numbered_files_and_paths_are_quoted(tmp_path: Path) -> None:
    lines = script(tmp_path / 'a "b', folder_of("etc", **{"user.note-1": "x\ny"}))
    assert f'ea_set -f "{tmp_path}/a ""b/1" "etc" user.note-1' in lines
    assert (tmp_path / 'a "b/1').read_text() == "x\ny"


@pytest.mark.parametrize("name", ['user.a\ndump "/x" /etc/cron.d/x', "user.a b", 'user."', "user.a\r", "", "user.ü"])
def test_an_attribute_whose_name_could_say_more_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r'extended attribute .* of "/etc" cannot be put into a disk image'):
        script(tmp_path / "c", folder_of("etc", **{name: ""}))


def linked(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"./{name}")
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        folder_of("a\ndump x y"),
        linked("a", "x\ndump x y", tarfile.SYMTYPE),
        linked("a", "ü" * 2999 + "ü" * 1500, tarfile.SYMTYPE),
        linked("b/" + '"' * 2500, '"' * 2500, tarfile.LNKTYPE),
        linked("a", "漢" * 2900, tarfile.SYMTYPE),
    ],
    ids=["name", "target", "long", "two long names", "more bytes than letters"],
)
def test_no_line_is_two_for_debugfs(tmp_path: Path, member: tarfile.TarInfo) -> None:
    with pytest.raises(InvalidInput, match="cannot be put into a disk image"):
        script(tmp_path / "c", member)
