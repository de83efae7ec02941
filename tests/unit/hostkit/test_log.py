"""Log formats, levels and the file's mode."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.hostkit import log
from megatools.hostkit.errors import InvalidInput, NotFound, Unavailable


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("megatools")
    before = (root.handlers[:], root.level, ours.level)
    for handler in before[0]:
        root.removeHandler(handler)
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:], root.level, ours.level = before[0], before[1], before[2]
    ours.setLevel(before[2])


def test_the_file_has_mode_0660_and_holds_our_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    old = os.umask(0o077)
    try:
        log.configure(level="info", stderr=False, file=path)
    finally:
        os.umask(old)
    logger = logging.getLogger("megatools.minimega.vm")
    logger.debug("not this")
    logger.warning("that %s", "one")
    assert path.stat().st_mode & 0o777 == 0o660
    (line,) = path.read_text().splitlines()
    assert line.endswith(" warn  minimega.vm: that one")


def test_a_bug_keeps_its_traceback_and_an_understood_error_has_none(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.configure(level="debug", stderr=False, file=path)
    logger = logging.getLogger("megatools.x")
    for error in (ValueError("bug"), NotFound('no vm "a"')):
        try:
            raise error
        except (ValueError, NotFound):
            logger.exception("went wrong")
    text = path.read_text()
    assert text.count("Traceback") == 1
    assert 'went wrong: no vm "a"' in text


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.configure(level="debug", stderr=False, file=path, as_json=True)
    try:
        raise ValueError("bug\nsecond line")
    except ValueError:
        logging.getLogger("megatools.web").exception("failed")
    (line,) = path.read_text().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["source"], entry["message"]) == ("error", "web", "failed")
    assert entry["error"] == "bug\nsecond line"
    assert "ValueError" in entry["traceback"]


def test_levels() -> None:
    log.configure(level="error", stderr=False)
    assert log.current_level() == "error"
    log.set_level("debug")
    assert log.current_level() == "debug"
    assert log.level_name(logging.CRITICAL) == "fatal"
    with pytest.raises(InvalidInput, match='"loud"'):
        log.set_level("loud")


def test_an_impossible_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="log file"):
        log.configure(level="info", file=tmp_path / "no" / "log")
