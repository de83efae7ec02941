"""The project as a tree: whole or absent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.hostkit import bundle


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source = tmp_path / "file.py"
    source.write_text("x = 1\n")

    def sources() -> Iterator[tuple[str, Path]]:
        yield f"{bundle.HOME}/src/file.py", source
        yield f"{bundle.HOME}/.venv/lib/{bundle.PYTHON}/site-packages/file.py", source

    monkeypatch.setattr(bundle, "_sources", sources)
    return tmp_path / "cache"


def test_a_signal_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(aside: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(bundle, "_environment", stop)
        bundle.folder(cache)
    assert list(cache.iterdir()) == []
