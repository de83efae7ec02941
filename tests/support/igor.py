"""igor as a program for tests: a configuration and a TFTP root of one's own, and command lines."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.images import REPOSITORY


@dataclass
class Igor:
    """One cluster; `settings` are more keys of igor.conf, `environment` of what programs see."""

    base: Path
    settings: dict[str, object] = field(default_factory=dict)
    nodes: int = 8
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The TFTP root."""
        return self.base / "tftpboot"

    @property
    def config(self) -> Path:
        """igor.conf."""
        return self.base / "igor.conf"

    def configure(self, **settings: object) -> None:
        """Write igor.conf."""
        self.settings.update(settings)
        keys = {
            "tftproot": f"{self.root}/",
            "prefix": "kn",
            "start": 1,
            "end": self.nodes,
            "rackwidth": 4,
            "rackheight": 2,
        }
        self.config.write_text(json.dumps(keys | {"probes": {"enabled": False}} | self.settings, indent=4))
        self.config.chmod(0o644)

    def run(self, *words: str, check: bool = True, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run `igor -config CONF words...`."""
        argv = [sys.executable, "-m", "megatools.igor.cli.main", "-config", str(self.config), *words]
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=self.base,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(REPOSITORY / "src"), "LANG": "C.UTF-8"}
            | self.environment,
        )
        assert not check or done.returncode == 0, (
            f"igor {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done
