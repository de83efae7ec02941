"""The project as a tree: made once, and the same bytes whoever makes it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.hostkit import bundle

_MAKE = """
import sys
kept = [sys.intern(name) for name in sys.argv[3:]]
from pathlib import Path
from megatools.hostkit import bundle
source = Path(sys.argv[1])
places = ("src", f".venv/lib/{bundle.PYTHON}/site-packages")
bundle._sources = lambda: ((f"{bundle.HOME}/{place}/file.py", source) for place in places)
print(bundle.folder(Path(sys.argv[2])))
"""


def test_it_is_made_once_and_its_time_says_when_it_was_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "file.py"
    source.write_text("x = 1\n")

    def sources() -> Iterator[tuple[str, Path]]:
        yield f"{bundle.HOME}/src/file.py", source
        yield f"{bundle.HOME}/.venv/lib/{bundle.PYTHON}/site-packages/file.py", source

    monkeypatch.setattr(bundle, "_sources", sources)
    made = bundle.folder(tmp_path / "cache")
    assert (made / bundle.HOME / "src/file.py").is_file()
    os.utime(made, (1, 1))
    assert bundle.folder(tmp_path / "cache") == made
    assert time.time() - made.stat().st_mtime < 3600


def test_bytecode_is_the_same_whatever_the_maker_has_loaded(tmp_path: Path) -> None:
    """Python marks in it which strings of one letter the process has interned."""
    source = tmp_path / "file.py"
    source.write_text("def f(x):\n    return x in {'!', '#', '~'}\n")
    found: list[bytes] = []
    for seed, names in (("1", ()), ("2", ("~",))):
        argv = [sys.executable, "-c", _MAKE, str(source), str(tmp_path / seed), *names]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        made = Path(subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.strip())
        (code,) = (made / bundle.HOME / "src").rglob("file.*.pyc")
        found.append(code.read_bytes())
        assert f"/{bundle.HOME}/src/file.py".encode() in found[-1], "its path in the image"
    assert found[0] == found[1]
