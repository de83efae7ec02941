"""Atomic writes and locks."""

import os
from pathlib import Path

import pytest

from megatools.hostkit.errors import Unavailable
from megatools.hostkit.files import Lock, write_atomically


def test_write_replaces_content_and_sets_the_mode(tmp_path: Path) -> None:
    target = tmp_path / "name"
    target.write_text("old")
    write_atomically(target, "näu", mode=0o640)
    assert target.read_text() == "näu"
    assert target.stat().st_mode & 0o7777 == 0o640
    assert os.listdir(tmp_path) == ["name"]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    target.mkdir()
    (target / "kept").write_text("x")
    with pytest.raises(Unavailable, match=r'cannot write ".*directory"'):
        write_atomically(target, b"data")
    assert os.listdir(tmp_path) == ["directory"]
    assert (target / "kept").read_text() == "x"


def test_missing_directory_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        write_atomically(tmp_path / "no" / "file", b"")


def test_a_lock_keeps_the_second_out_and_names_its_holder(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert second.holder() is None
    assert first.acquire()
    assert first.acquire(), "taking it again is harmless"
    assert not second.acquire()
    assert second.holder() == os.getpid()
    with pytest.raises(Unavailable, match=f'"{os.getpid()}"'), second:
        pass
    first.release()
    assert second.holder() is None
    with second:
        assert not first.acquire()
    assert first.acquire()
    first.release()


def test_a_removed_lock_file_is_made_anew(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.acquire()
    first.release(remove=True)
    assert not (tmp_path / "lock").exists()
    assert second.acquire()
    assert not first.acquire()
    second.release(remove=True)


def test_a_stale_pid_in_the_file_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1\n")
    lock = Lock(tmp_path / "lock")
    assert lock.holder() is None
    assert lock.acquire()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()
