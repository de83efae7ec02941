"""A real terminal (tmux) for tests: a program runs in it, keys are typed, the screen is read."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30


class Terminal:
    """A terminal of 60 columns and 12 lines in which one program runs."""

    def __init__(self, directory: Path, *command: str) -> None:
        self.name = f"megatools-{uuid.uuid4().hex[:8]}"
        self.directory = directory
        line = " ".join([*command, "; echo status $?; exec sleep 600"])
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "60", "-y", "12", "-c", str(ROOT), line)

    def tmux(self, *words: str, text: str | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.directory / "tmux"), *words],
            input=text, capture_output=True, text=True, timeout=30, check=True, env=os.environ | {"TERM": "xterm"},
        )  # fmt: skip
        return done.stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p").rstrip("\n ")

    def when(self, holds: Callable[[str], bool], what: str) -> str:
        """The screen once something holds of it."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(screen := self.screen()):
            assert time.monotonic() < deadline, f"{what!r} never came; the screen shows:\n{screen}"
            time.sleep(0.05)
        return screen

    def until(self, wanted: str) -> str:
        """The screen once its end is what is wanted."""
        return self.when(lambda screen: screen.endswith(wanted.rstrip()), wanted)

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def paste(self, text: str, *, bracketed: bool) -> None:
        self.tmux("load-buffer", "-", text=text)
        self.tmux("paste-buffer", *(["-p"] if bracketed else []))


def started(directory: Path, *command: str) -> Iterator[Terminal]:
    """A program in a terminal, for a fixture."""
    running = Terminal(directory, *command)
    try:
        yield running
    finally:
        running.tmux("kill-server")
