"""Results are put into place all at once or not at all."""

from pathlib import Path

import pytest

from megatools.hostkit.errors import AlreadyExists, Unavailable
from megatools.vmbetter.targets.delivery import Delivery


def source(folder: Path, text: str) -> Path:
    path = folder / "source"
    path.write_text(text)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def test_all_appear_together(place: Path, tmp_path: Path) -> None:
    (place / "x.a").write_text("old")
    with Delivery(place) as delivery:
        assert delivery.file(source(tmp_path, "new"), "x.a") == place / "x.a"
        delivery.data(b"more", place / "x.b")
        aside, target = delivery.folder("x_rootfs")
        aside.mkdir()
        (aside / "in").write_text("it")
        assert (place / "x.a").read_text() == "old"
        assert not target.exists()
        delivery.put()
    assert (place / "x.a").read_text() == "new"
    assert (place / "x.a").stat().st_mode & 0o7777 == 0o644
    assert (place / "x.b").read_text() == "more"
    assert (place / "x_rootfs/in").read_text() == "it"
    assert names(place) == {"x.a", "x.b", "x_rootfs"}


def test_an_error_before_the_end_changes_nothing(place: Path, tmp_path: Path) -> None:
    (place / "x.a").write_text("old")
    with pytest.raises(Unavailable, match=r'cannot write ".*x.b"'), Delivery(place) as delivery:
        delivery.file(source(tmp_path, "new"), "x.a")
        delivery.file(tmp_path / "absent", "x.b")
    assert (place / "x.a").read_text() == "old"
    assert names(place) == {"x.a"}


@pytest.mark.parametrize("fails", [0, 1, 2, 3, 4])
def test_a_move_that_fails_undoes_those_before(place: Path, tmp_path: Path, fails: int) -> None:
    (place / "x.kernel").write_text("old")
    (place / "elsewhere").write_text("linked")
    (place / "x.link").symlink_to("elsewhere")
    (place / "x_rootfs").mkdir()
    (place / "x_rootfs/in").write_text("old")
    before = names(place)
    with pytest.raises(Unavailable, match=r'cannot write ".*x[._]'), Delivery(place) as delivery:
        delivery.file(source(tmp_path, "new"), "x.kernel")
        delivery.file(source(tmp_path, "new"), "x.link")
        aside, _ = delivery.folder("x_rootfs")
        aside.mkdir()
        delivery.file(source(tmp_path, "new"), "x.first")
        delivery.data(b"new", place / "x.last")
        made = sorted(place.glob(".*"), key=lambda path: path.stat().st_mtime_ns)
        lost = made[fails]
        lost.rmdir() if lost.is_dir() else lost.unlink()
        delivery.put()
    assert names(place) == before
    assert (place / "x.kernel").read_text() == "old"
    assert (place / "x.link").is_symlink()
    assert (place / "elsewhere").read_text() == "linked"
    assert (place / "x_rootfs/in").read_text() == "old"


def test_a_folder_replaces_the_one_before(place: Path) -> None:
    for text in ("one", "two"):
        with Delivery(place) as delivery:
            aside, target = delivery.folder("x_rootfs")
            aside.mkdir()
            (aside / "in").write_text(text)
            delivery.put()
        assert (target / "in").read_text() == text
    assert names(place) == {"x_rootfs"}


def test_what_dead_builds_left_aside_goes_and_what_living_ones_have_stays(place: Path, tmp_path: Path) -> None:
    (place / ".x.a.new-99999999").write_text("dead")
    (place / ".x.a.new-1").write_text("alive")
    (place / ".x_rootfs.old").mkdir()
    (place / ".x_rootfs.old/in").write_text("moved away, then killed")
    (place / ".x.a.old").write_text("moved away where there are no hard links")
    with Delivery(place) as delivery:
        delivery.file(source(tmp_path, "new"), "x.a")
        delivery.folder("x_rootfs")
    assert names(place) == {".x.a.new-1", "x.a", "x_rootfs"}
    assert (place / "x.a").read_text() == "moved away where there are no hard links"
    assert (place / "x_rootfs/in").exists()


def test_a_folder_in_a_files_place_is_left_alone(place: Path, tmp_path: Path) -> None:
    (place / "x.a").mkdir()
    with pytest.raises(AlreadyExists, match=r'x.a" is a folder'), Delivery(place) as delivery:
        delivery.file(source(tmp_path, "new"), "x.a")
    assert names(place) == {"x.a"}
