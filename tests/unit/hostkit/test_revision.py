"""Which revision the sources are: of a checkout, a further worktree, a copy that was told, a tarball."""

from pathlib import Path

import pytest

from megatools.hostkit import revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(revision, "_TREE", tmp_path)
    return tmp_path


def _repository(folder: Path, head: str) -> None:
    folder.mkdir(parents=True)
    (folder / "HEAD").write_text(f"{head}\n")


def test_a_branch_of_its_own_file(tree: Path) -> None:
    _repository(tree / ".git", "ref: refs/heads/main")
    (tree / ".git/refs/heads").mkdir(parents=True)
    (tree / ".git/refs/heads/main").write_text(f"{COMMIT}\n")
    assert revision.revision() == COMMIT[:12]


def test_a_packed_branch(tree: Path) -> None:
    _repository(tree / ".git", "ref: refs/heads/main")
    (tree / ".git/packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    assert revision.revision() == COMMIT[:12]


def test_a_commit_itself(tree: Path) -> None:
    _repository(tree / ".git", COMMIT)
    assert revision.revision() == COMMIT[:12]


def test_a_further_worktree(tree: Path) -> None:
    there = tree / "elsewhere/.git/worktrees/tree"
    _repository(there, "ref: refs/heads/topic")
    (there / "commondir").write_text("../..\n")
    (tree / "elsewhere/.git/packed-refs").write_text(f"{COMMIT} refs/heads/topic\n")
    (tree / ".git").write_text(f"gitdir: {there}\n")
    assert revision.revision() == COMMIT[:12]


def test_a_copy_that_was_told(tree: Path) -> None:
    (tree / revision.NOTE).write_text("0123456789ab\n")
    assert revision.revision() == "0123456789ab"


def test_a_tarball(tree: Path) -> None:
    assert revision.revision() == "release"
