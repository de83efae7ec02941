"""Where events go when a place for them fails: a build goes on without its log file."""

from pathlib import Path

import pytest

from megatools.vmbetter.cli.journal import Journal
from megatools.vmbetter.events import Event, Kind


def test_a_full_disk_ends_the_log_file_not_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    with Journal("info", logfile=Path("/dev/full")) as journal:
        for text in ("one", "two"):
            journal.report(Event(Kind.STEP, "packages", text))
    said = capsys.readouterr().err
    told = 'warning: log file "/dev/full" cannot be written: no space left on device\n'
    assert said.count(told) == 1
    assert said.index("packages: one") < said.index(told) < said.index("packages: two")
