"""scripts/install places man pages and completion, again and again, minds the files of others, and takes them away.

The real script runs in a mount namespace with a /usr/local/share, /var/lib/megatools and a home of its own.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import ROOT
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("unshare", "mount", "man", "bash")]

_SCENE = f"""
set -e
mkdir -p /var/lib/megatools "$PLACE/share" "$PLACE/state"
mount --bind "$PLACE/share" /usr/local/share
mount --bind "$PLACE/state" /var/lib/megatools
cd /
"{ROOT}/scripts/install" --no-packages --no-services "$@"
[ -e /usr/local/share/man/man1/vmbetter.1 ] || exit 0
man --warnings -Tutf8 vmbetter >"$PLACE/page" 2>"$PLACE/warnings"
"""


def install(place: Path, *words: str) -> str:
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", _SCENE, "bash", *words],
        env={**os.environ, "PLACE": str(place), "HOME": str(place)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def placed(place: Path) -> dict[str, str]:
    share = place / "share"
    return {str(path.relative_to(share)): path.read_text() for path in share.rglob("*") if path.is_file()}


def test_man_pages_and_completion_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "share/zsh/site-functions").mkdir(parents=True)
    theirs = tmp_path / "share/zsh/site-functions/_igor"
    theirs.write_text("of somebody else\n")
    said = install(tmp_path)
    assert "left alone, it is not of these tools: /usr/local/share/zsh/site-functions/_igor" in said
    first = placed(tmp_path)
    for program in ("minimega", "igor", "vmbetter"):
        assert first[f"man/man1/{program}.1"] == (ROOT / f"packaging/man/{program}.1").read_text()
        assert f"bash-completion/completions/{program}" in first
        assert f"fish/vendor_completions.d/{program}.fish" in first
    assert first["zsh/site-functions/_igor"] == "of somebody else\n"
    assert (tmp_path / "page").read_text().startswith("VMBETTER(1)"), "man finds it where it is"
    assert (tmp_path / "warnings").read_text() == ""
    said = install(tmp_path)
    assert "placed" not in said
    assert placed(tmp_path) == first

    page = tmp_path / "share/man/man1/vmbetter.1"
    page.write_text("an older version\n")
    old = tmp_path / "share/man/man1/older.1"
    old.write_text("a page that is shipped no more\n")
    with (tmp_path / "state/shared").open("a") as stream:
        stream.write("/usr/local/share/man/man1/older.1\n")
    said = install(tmp_path)
    assert "removed /usr/local/share/man/man1/older.1" in said
    assert placed(tmp_path) == first

    install(tmp_path, "--remove-shared")
    assert placed(tmp_path) == {"zsh/site-functions/_igor": "of somebody else\n"}


@pytest.mark.parametrize("program", ["minimega", "igor", "vmbetter"])
def test_man_pages_are_well_formed(program: str, tmp_path: Path) -> None:
    words = ["man", "--warnings", "-Tutf8", "-l", str(ROOT / f"packaging/man/{program}.1")]
    done = subprocess.run(words, capture_output=True, timeout=60, check=True)
    assert done.stderr == b""
    assert done.stdout.startswith(f"{program.upper()}(1)".encode())
