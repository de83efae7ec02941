"""Programs on the host, and how the program `minimega` itself behaves in a shell."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.support.daemon import Daemon
from tests.support.lab import Lab

pytestmark = [pytest.mark.root]

PROGRAM = [sys.executable, "-m", "megatools.minimega.app.main"]


def test_a_program_that_is_not_there(daemon: Daemon) -> None:
    for line in ("shell nosuch", 'shell "echo a; echo b"', "background nosuch"):
        error = daemon.refused(line)
        assert "is not on this host" in error
        assert "shell sh -c" in error
    assert daemon.ask('.annotate false shell sh -c "echo a; echo b"') == "a\nb"


def test_a_crash_leaves_no_output_behind(daemon: Daemon) -> None:
    daemon.ask("background echo hello")
    while daemon.rows("background-status")[0]["RUNNING"] == "true":
        time.sleep(0.02)
    assert daemon.ask(".annotate false background-output 1") == "hello"
    daemon.kill9()
    daemon.start()
    assert daemon.rows("background-status") == []
    assert not (daemon.base / "background").exists()
    daemon.ask("background echo again")
    assert daemon.quit() == 0
    assert not daemon.base.exists()


@pytest.mark.parametrize("flags", [("--help",), ("-version",), ("-cli",), ("-doc",)])
def test_a_reader_that_leaves_is_no_error(flags: tuple[str, ...]) -> None:
    with subprocess.Popen([*PROGRAM, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_an_empty_command(lab_daemon: tuple[Daemon, Lab]) -> None:
    daemon, _ = lab_daemon
    for words in ((), ("",), (" ", "")):
        done = subprocess.run([*PROGRAM, "-base", str(daemon.base), "-e", *words], capture_output=True, timeout=60)
        assert done.returncode == 2
        assert b"no command given" in done.stderr
