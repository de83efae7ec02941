"""The systemd units: what systemd itself says of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from megatools.igor.cli.installing import UNITS
from tests.support.images import REPOSITORY
from tests.support.requires import requires

FILLED = {"@IGOR@-hook": "/bin/true", "@IGOR@": "/bin/true", "@CONFIG@": "/etc/igor.conf", "@TFTPROOT@": "/tmp"}


@requires("systemd-analyze")
def test_the_units_are_well_formed(tmp_path: Path) -> None:
    for name in UNITS:
        text = (REPOSITORY / "packaging" / "igor" / name).read_text()
        for hole, value in (FILLED | {"@SOCKET@": "/run/igor/igor.sock"}).items():
            text = text.replace(hole, value)
        assert "@" not in text.replace("igor-hook@", "")
        (tmp_path / name).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
