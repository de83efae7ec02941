"""Layers over a tree: overlays go where links lead and nowhere else, merges show the newer of two, hidden names go."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter import tree
from megatools.vmbetter.stages import overlays
from megatools.vmbetter.tree import Layer, Member

BASE = [
    Member(".", "folder", 0o755, 0, 0, 1, 0),
    Member("usr", "folder", 0o755, 0, 0, 1, 0),
    Member("usr/bin", "folder", 0o751, 3, 4, 1, 0),
    Member("usr/bin/tool", "file", 0o755, 0, 0, 1, 3),
    Member("bin", "link", 0o777, 0, 0, 1, 0, "usr/bin"),
    Member("out", "link", 0o777, 0, 0, 1, 0, "/../../etc"),
    Member("loop", "link", 0o777, 0, 0, 1, 0, "loop"),
    Member("etc", "folder", 0o755, 0, 0, 1, 0),
]


def layer_of(*folders: Path, base: list[Member] = BASE) -> tuple[Layer, dict[str, tarfile.TarInfo]]:
    layer = overlays.make(list(folders), base, folders[0].parent / "layer.tar", epoch=77)
    with tarfile.open(layer.tar) as archive:
        return layer, {tree.name_of(info): info for info in archive}


def test_overlay_paths_stay_inside_the_tree() -> None:
    view = overlays.View(BASE)
    assert view.resolve("bin/x") == "usr/bin/x"
    assert view.resolve("out/passwd") == "etc/passwd"
    assert view.resolve("../../x") == "x"
    with pytest.raises(InvalidInput, match="too many links"):
        view.resolve("loop/x")


def test_an_overlay_follows_merged_folders_and_keeps_modes_links_and_names(tmp_path: Path) -> None:
    over = tmp_path / "over"
    (over / "bin").mkdir(parents=True)
    (over / "bin/new").write_text("new")
    (over / "bin/new").chmod(0o4711)
    os.link(over / "bin/new", over / "bin/same")
    (over / "away").symlink_to("../../etc/shadow")
    _, found = layer_of(over)
    assert sorted(found) == ["away", "usr", "usr/bin", "usr/bin/new", "usr/bin/same"]
    assert (found["usr/bin"].mode, found["usr/bin"].uid, found["usr/bin"].gid) == (0o751, 3, 4)
    assert found["usr/bin/new"].mode == 0o4711
    assert found["usr/bin/same"].islnk()
    assert found["usr/bin/same"].linkname == "./usr/bin/new"
    assert found["away"].linkname == "../../etc/shadow"
    assert {info.mtime for name, info in found.items() if name.startswith("usr/bin/")} == {77}


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("etc", "file", 'would replace the folder "/etc"'),
        ("usr/bin/tool", "folder", "would replace a file"),
        ("loop", "folder", "too many links"),
        ("x", "pipe", "neither a file, a folder nor a link"),
    ],
)
def test_what_an_overlay_cannot_do_is_refused(tmp_path: Path, name: str, kind: str, message: str) -> None:
    path = tmp_path / "over" / name
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("")
    with pytest.raises(InvalidInput, match=message):
        layer_of(tmp_path / "over")


def test_an_attribute_with_an_odd_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "over/file"
    path.parent.mkdir()
    path.write_text("")
    os.setxattr(path, "user.plain-1.a_b", b"x")
    assert overlays.digest(tmp_path / "over")[0][-1] == [("SCHILY.xattr.user.plain-1.a_b", "x")]
    os.setxattr(path, 'user.a\ndump "/x" /etc/x', b"x")
    with pytest.raises(InvalidInput, match=r'over/file" in an overlay has an extended attribute with the name'):
        overlays.digest(tmp_path / "over")


def test_a_later_overlay_goes_through_a_link_of_an_earlier_one_inside_the_tree(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/data").symlink_to("/etc")
    (tmp_path / "two/data").mkdir(parents=True)
    (tmp_path / "two/data/passwd").write_text("in the image")
    _, found = layer_of(tmp_path / "one", tmp_path / "two")
    assert "etc/passwd" in found


def tar_of(path: Path, *entries: tuple[str, str]) -> Path:
    """Entries are names and contents; "->x" is a link, "=x" a hard link, "0" a whiteout, "/" a folder."""
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries:
            info = tarfile.TarInfo(f"./{name}")
            if content == "/":
                info.type = tarfile.DIRTYPE
            elif content.startswith("->"):
                info.type, info.linkname = tarfile.SYMTYPE, content[2:]
            elif content.startswith("="):
                info.type, info.linkname = tarfile.LNKTYPE, f"./{content[1:]}"
            elif content == "0":
                info.type = tarfile.CHRTYPE
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
    return path


def contents(tar: Path) -> dict[str, str]:
    with tarfile.open(tar) as archive:
        found = {}
        for info in archive:
            stream = archive.extractfile(info) if info.isreg() or info.islnk() else None
            found[tree.name_of(info)] = stream.read().decode() if stream else info.linkname or "/"
        return found


def test_a_merge_shows_the_newer_and_hides_what_is_gone(tmp_path: Path) -> None:
    base = tar_of(
        tmp_path / "b", ("a", "/"), ("a/old", "1"), ("a/kept", "2"), ("d", "/"), ("d/x", "3"), ("f", "4" * 700)
    )
    raw = tar_of(tmp_path / "raw", ("a", "/"), ("a/old", "0"), ("d", "now a file"), ("f", "5"), ("n", "6"))
    layer = tree.from_upper(raw, tmp_path / "l", epoch=9)
    assert layer.gone == ("a/old",)
    tree.merge(base, layer, tmp_path / "m")
    assert contents(tmp_path / "m") == {"a": "/", "a/kept": "2", "d": "now a file", "f": "5", "n": "6"}


def test_a_hard_link_keeps_its_content_when_the_first_name_goes(tmp_path: Path) -> None:
    base = tar_of(tmp_path / "b", ("one", "same"), ("three", "=one"), ("two", "=one"), ("z", "end"))
    layer = tree.from_upper(tar_of(tmp_path / "raw", ("one", "0")), tmp_path / "l", epoch=9)
    tree.merge(base, layer, tmp_path / "m")
    assert contents(tmp_path / "m") == {"z": "end", "three": "same", "two": "same"}
    with tarfile.open(tmp_path / "m") as archive:
        assert archive.getmember("./two").linkname == "./three"


def test_an_opaque_folder_hides_all_that_was_in_it(tmp_path: Path) -> None:
    base = tar_of(tmp_path / "b", ("a", "/"), ("a/b", "/"), ("a/b/c", "1"), ("ab", "2"))
    over = Layer(tar_of(tmp_path / "l", ("a", "/"), ("a/new", "3")), opaque=("a",))
    tree.merge(base, over, tmp_path / "m")
    assert contents(tmp_path / "m") == {"ab": "2", "a": "/", "a/new": "3"}
