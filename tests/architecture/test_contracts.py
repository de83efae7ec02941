"""Imports: the contracts of pyproject.toml hold, and the thin client loads nothing but the standard library."""

import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

_PYTHON = ROOT / ".venv" / "bin" / "python"
_LOADED = """
import sys
before = set(sys.modules)
import {module}
names = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(names - set(sys.stdlib_module_names) - {{"megatools"}}))
print(*sorted({{"asyncio", "subprocess", "logging", "dataclasses", "inspect"}} & set(sys.modules)))
"""


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, arguments)), cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_import_contracts_hold() -> None:
    done = _run(_PYTHON.with_name("lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("module", ["megatools.minimega.app.client", "megatools.minimega.app.main"])
def test_the_thin_client_is_thin(module: str) -> None:
    done = _run(_PYTHON, "-I", "-c", _LOADED.format(module=module))
    assert done.returncode == 0, done.stderr
    foreign, heavy = done.stdout.split("\n")[:2]
    assert foreign == "", f"{module} loads {foreign}"
    assert heavy == "", f"{module} loads {heavy}, which the client does not need"
