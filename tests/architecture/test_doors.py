"""The document's own names are thin doors, and the launchers find their way home."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, SRC

_DOORS = [
    "all.bash",
    "bin/minimega",
    "bin/igor",
    "bin/vmbetter",
    "src/igor/setup.sh",
    "scripts/demo",
    "scripts/bench",
    ".ci/run",
]


@pytest.mark.parametrize("name", _DOORS)
def test_doors_are_thin_and_executable(name: str) -> None:
    door = ROOT / name
    assert os.access(door, os.X_OK)
    assert len(door.read_text().splitlines()) <= 20
    assert door.read_text().startswith("#!/bin/")


def test_novnc_door_leads_to_the_served_files() -> None:
    door = ROOT / "misc" / "novnc"
    assert door.is_symlink()
    assert not os.readlink(door).startswith("/")
    assert door.resolve() == SRC / "minimega" / "web" / "static" / "novnc"


def _fake_installation(home: Path) -> None:
    """A place that looks installed, whose minimega prints where it is."""
    (home / ".venv" / "bin").mkdir(parents=True)
    (home / "scripts").mkdir()
    (home / "scripts" / "install").write_text("#!/bin/sh\nexit 1\n")
    program = home / ".venv" / "bin" / "minimega"
    program.write_text('#!/bin/sh\necho "$0" "$@"\n')
    program.chmod(0o755)


def _launch(launcher: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(launcher), "-e", "vm info"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_copied_launcher_finds_the_installation(tmp_path: Path) -> None:
    home, elsewhere, data = tmp_path / "home", tmp_path / "sbin", tmp_path / "data"
    _fake_installation(home)
    elsewhere.mkdir()
    copy = Path(shutil.copy(ROOT / "bin" / "minimega", elsewhere))
    wanted = f"{home}/.venv/bin/minimega -e vm info\n"
    assert _launch(copy, MEGATOOLS_HOME=str(home)).stdout == wanted
    (data / "megatools").mkdir(parents=True)
    (data / "megatools" / "home").write_text(f"{home}\n")
    assert _launch(copy, XDG_DATA_HOME=str(data)).stdout == wanted
    (home / "bin").mkdir()
    inside = Path(shutil.copy(ROOT / "bin" / "minimega", home / "bin"))
    link = elsewhere / "link"
    link.symlink_to(inside)
    assert _launch(inside).stdout == wanted
    assert _launch(link).stdout == wanted


def test_a_lost_launcher_says_so(tmp_path: Path) -> None:
    copy = Path(shutil.copy(ROOT / "bin" / "minimega", tmp_path))
    if Path("/var/lib/megatools/home").exists():
        pytest.skip("this machine has a recorded installation, which the copy finds")
    done = _launch(copy)
    assert done.returncode == 1
    assert "MEGATOOLS_HOME" in done.stderr


def test_igors_set_up_script_is_igor_setup() -> None:
    done = subprocess.run(
        [str(ROOT / "src" / "igor" / "setup.sh"), "-h"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: igor setup")


@pytest.mark.parametrize("kind", ["build", "run", "dev"])
def test_requirement_files_hold_hashes_and_no_addresses(kind: str) -> None:
    text = (ROOT / "requirements" / f"{kind}.txt").read_text()
    assert text.count("==") > 5
    assert "://" not in text
    assert "--index" not in text
    pinned = [line for line in text.splitlines() if "==" in line]
    assert all(line.endswith("\\") for line in pinned), "a pin without a hash"


def test_the_project_names_what_run_in_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements" / "run.in").read_text().splitlines()
    wanted = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    assert set(project["dependencies"]) == wanted
    assert project["version"] in (SRC / "__init__.py").read_text()
