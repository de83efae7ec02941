"""These tools themselves as a tree to put on another machine: images of cluster nodes, hosts they are deployed to.

Anyone may call it. Made from the place this program runs in, without a network: the project's files under
/opt/megatools, and beside them a virtual environment with the Python packages that are installed here. The other
machine's Python must be of the same version, which starting one of the programs shows.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from megatools.hostkit import proc, revision
from megatools.hostkit.errors import Unavailable

FORMAT = 3
HOME = "opt/megatools"
_COMPILE_S = 600.0
_FOLDERS = ("bin", "scripts", "src", "misc", "examples", "requirements")
_FILES = ("README.md", "LICENSE", "pyproject.toml", "all.bash")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_SITE = f"{HOME}/.venv/lib/{PYTHON}/site-packages"


def folder(cache: Path) -> Path:
    """The tree, in a folder of a cache; made anew when something of the project has changed."""
    sources = dict(_sources())
    rows = [f"{FORMAT} {PYTHON} {revision.revision()}"]
    for inside, path in sorted(sources.items()):
        status = path.lstat()
        rows.append(f"{inside} {path} {status.st_mode} {status.st_size} {status.st_mtime_ns}")
    key = hashlib.sha256("\n".join(rows).encode()).hexdigest()[:32]
    target = cache / "project" / key
    if target.is_dir():
        os.utime(target)  # when it was last used
        return target
    shutil.rmtree(cache / "project", ignore_errors=True)
    aside = cache / "project" / "new"
    try:
        _fill(aside, sources)
        aside.rename(target)
    except BaseException:
        shutil.rmtree(cache / "project", ignore_errors=True)
        raise
    return target


def _fill(aside: Path, sources: dict[str, Path]) -> None:
    for inside, path in sorted(sources.items()):
        place = aside / inside
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)
    (aside / HOME / revision.NOTE).write_text(f"{revision.revision()}\n")
    _environment(aside)
    _compile(aside)
    for path in aside.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _compile(aside: Path) -> None:
    """Bytecode for all modules, the same bytes from the same sources.

    In a process of its own: Python marks in bytecode which strings of one letter the process has interned, and so it
    depends on what else is loaded.
    """
    folders = [str(aside / HOME / "src"), str(aside / _SITE)]
    argv = [sys.executable, "-m", "compileall", "-qq", "--invalidation-mode", "unchecked-hash", "-s", str(aside)]
    # No check of its status: some packages bring templates that are no Python.
    proc.run_sync([*argv, "-p", "/", *folders], timeout_s=_COMPILE_S, check=False, env={"PYTHONHASHSEED": "0"})


def home() -> Path:
    """Where the project is that runs now. Raises Unavailable when it is not a whole project."""
    found = Path(__file__).resolve().parents[3]
    if not (found / "scripts/install").is_file():
        raise Unavailable(f'"{found}" is not the whole project, which is needed to put it elsewhere')
    return found


def _sources() -> Iterator[tuple[str, Path]]:
    """Every file of the tree that is copied: its path there and here."""
    top = home()
    for name in _FOLDERS:
        for path in sorted((top / name).rglob("*")):
            if (path.is_file() or path.is_symlink()) and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield f"{HOME}/{path.relative_to(top)}", path
    for name in _FILES:
        if (top / name).is_file():
            yield f"{HOME}/{name}", top / name
    for package in _needed("megatools", set()):
        for file in package.files or ():
            path = Path(str(file.locate()))
            odd = {"..", "__pycache__"} & set(file.parts) or file.name.endswith((".pth", "direct_url.json", "RECORD"))
            if not odd and path.is_file():
                yield f"{_SITE}/{file}", path


def _needed(name: str, seen: set[str]) -> Iterator[metadata.Distribution]:
    """A Python package and those it needs, as far as they are installed."""
    plain = re.sub(r"[-_.]+", "-", name).lower()
    if plain in seen:
        return
    seen.add(plain)
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return
    yield package
    for requirement in package.requires or ():
        wanted, _, condition = requirement.partition(";")
        match = re.match(r"[A-Za-z0-9._-]+", wanted)
        if match and "extra ==" not in condition.replace("'", '"'):
            yield from _needed(match[0], seen)


def _environment(aside: Path) -> None:
    """The virtual environment's own files, and the programs where a shell finds them."""
    environment = aside / HOME / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python3").symlink_to("/usr/bin/python3")
    (environment / "bin/python").symlink_to("python3")
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (aside / _SITE / "megatools.pth").write_text(f"/{HOME}/src\n")
    links = aside / "usr/local/bin"
    links.mkdir(parents=True)
    starts = {entry.name: entry.value for entry in metadata.distribution("megatools").entry_points}
    for program, start in starts.items():
        module, _, function = start.partition(":")
        script = environment / "bin" / program
        script.write_text(
            f"#!/{HOME}/.venv/bin/python3\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        )
        script.chmod(0o755)
        if (aside / HOME / "bin" / program).exists():
            (links / program).symlink_to(f"/{HOME}/bin/{program}")
