"""Each folder of broken/ holds a config with one fault (main.conf) and, in `expected`, just what is said about it."""

from pathlib import Path

import pytest

from megatools.hostkit.errors import MegaError, user_text
from megatools.vmbetter.config.merge import load

CASES = sorted(path for path in (Path(__file__).parent / "broken").iterdir() if path.is_dir())


def said(folder: Path) -> str:
    with pytest.raises(MegaError) as caught:
        load(Path("main.conf"), directory=folder)
    return user_text(caught.value)


def test_there_are_forty_of_them() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_broken_config_is_told_with_its_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert said(folder).replace(str(folder), "HERE") + "\n" == (folder / "expected").read_text()
