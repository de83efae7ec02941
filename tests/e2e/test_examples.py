"""The examples run as they are, and the lines of the README and the tutorial are commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64", "ovs-vswitchd")]

ROOT = Path(__file__).resolve().parents[2]


def test_two_networks(daemon: Daemon) -> None:
    daemon.ask(f"read {ROOT / 'examples' / 'two-networks.mm'}")
    rows = {row["name"]: row for row in daemon.rows("vm info")}
    assert sorted(rows) == ["alice", "bob", "carol"]
    assert {row["state"] for row in rows.values()} == {"RUNNING"}
    left, right = rows["alice"]["vlan"].strip("[]"), rows["bob"]["vlan"].strip("[]")
    assert left.startswith("left (")
    assert right.startswith("right (")
    assert rows["carol"]["vlan"] == f"[{left}, {right}]"


def test_every_line_that_is_shown_is_a_command(daemon: Daemon, tmp_path: Path) -> None:
    shown: list[str] = (ROOT / "examples" / "basics.mm").read_text().splitlines()
    for page in ("README.md", "docs/tutorial/first-vms.md"):
        for block in re.findall(r"^```minimega\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL):
            shown += block.splitlines()
    assert len(shown) > 30
    script = tmp_path / "shown.mm"
    script.write_text("\n".join(shown) + "\n")
    assert daemon.ask(f"read {script} check") == ""
    script.write_text("no such command\n")
    assert "invalid command" in daemon.refused(f"read {script} check")
