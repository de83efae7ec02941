"""The prompts on a real terminal (tmux): typing, TAB, paste, ^C, ^D, the pager; and without a terminal."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.support.requires import requires
from tests.support.terminal import PATIENCE_S, ROOT, Terminal, started

pytestmark = requires("tmux")


@pytest.fixture
def prompt(tmp_path):
    yield from started(tmp_path, sys.executable, "-m", "tests.integration.socket.prompting", str(tmp_path / "minimega"))


@pytest.fixture
def attached(prompt, tmp_path):
    prompt.until("minimega[lab]$")
    (tmp_path / "second").mkdir()
    main = "megatools.minimega.app.main"
    yield from started(tmp_path / "second", sys.executable, "-m", main, "-base", str(tmp_path), "-attach")


def test_lines_are_run_and_errors_shown(prompt):
    prompt.until("minimega[lab]$")
    prompt.keys("say hi", "Enter")
    prompt.until("minimega[lab]$ say hi\nkn1: hi\nminimega[lab]$")
    prompt.keys("fail x", "Enter")
    prompt.until('Error (kn1): no "x"\nhint: try another\nminimega[lab]$')
    prompt.keys("Up", "Up", "Enter")
    prompt.until("minimega[lab]$ say hi\nkn1: hi\nminimega[lab]$")


def test_tab_completes_then_lists(prompt):
    prompt.until("minimega[lab]$")
    prompt.keys("sa", "Tab", "x")
    prompt.until("minimega[lab]$ say x")
    prompt.keys("Enter")
    prompt.until("minimega[lab]$ say x\nkn1: x\nminimega[lab]$")
    prompt.keys("unset-the-rest", "C-c")
    prompt.keys("h", "Tab")
    prompt.when(lambda screen: {"help", "here"} <= set(screen.split("\n")[-2].split()), "the candidates")
    prompt.until("minimega[lab]$ h")


def test_interrupt_clears_the_line_and_the_end_of_input_ends_the_prompt(prompt):
    prompt.until("minimega[lab]$")
    prompt.keys("say never", "C-c")
    prompt.until("minimega[lab]$ say never\nminimega[lab]$")
    prompt.keys("C-d")
    screen = prompt.until("status 0")
    assert "prompt ended: LEFT" in screen
    assert "kn1: never" not in screen


def test_the_log_appears_above_the_prompt(prompt):
    prompt.until("minimega[lab]$")
    prompt.keys("warn careful", "Enter", "say half-typed")
    screen = prompt.when(lambda screen: screen.count("careful\n") == 2 and screen.endswith("typed"), "the warning")
    above, _, below = screen.rpartition("careful\n")
    assert above.endswith(" test: ")
    assert below == "minimega[lab]$ say half-typed"


@pytest.mark.parametrize("bracketed", [True, False])
def test_pasted_lines_run_one_by_one(prompt, bracketed):
    prompt.until("minimega[lab]$")
    prompt.paste("say one\nsay two\nsay three\n", bracketed=bracketed)
    screen = prompt.until("kn1: three\nminimega[lab]$")
    assert [line for line in screen.split("\n") if line.startswith("kn1:")] == ["kn1: one", "kn1: two", "kn1: three"]


def test_long_output_is_paged(prompt):
    prompt.until("minimega[lab]$")
    prompt.keys("lines 30", "Enter")
    assert "line 9" in prompt.until("-- more: space or enter, q to stop --")
    prompt.keys("Space")
    assert "line 20" in prompt.until("-- more: space or enter, q to stop --")
    prompt.keys("q")
    assert "line 29" not in prompt.until("minimega[lab]$")


def test_attached_prompt(attached, tmp_path):
    sign = f"minimega:{tmp_path / 'minimega'}$"
    assert "".join(attached_lines(attached, sign)).endswith(sign)
    attached.keys("say hi", "Enter")
    attached_lines(attached, f"say hikn1: hi{sign}")
    attached.keys("sa", "Tab", "x")
    attached_lines(attached, "say x")
    attached.keys("Enter")
    attached_lines(attached, f"say xkn1: x{sign}")
    attached.keys("quit", "Enter")
    attached_lines(attached, f"to leave only{sign}")
    attached.keys("disconnect", "Enter")
    attached.until("status 0")


def attached_lines(terminal: Terminal, wanted: str) -> list[str]:
    """The lines of the screen once, joined, they end with what is wanted: a long prompt wraps."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        lines = [line.strip() for line in terminal.tmux("capture-pane", "-p", "-J").split("\n") if line.strip()]
        if "".join(lines).replace(" ", "").endswith(wanted.replace(" ", "")):
            return lines
        assert time.monotonic() < deadline, f"{wanted!r} never came; the screen shows:\n" + "\n".join(lines)
        time.sleep(0.05)


def test_without_a_terminal_lines_run_until_the_end_of_input(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.socket.prompting", str(tmp_path / "minimega")],
        input="say one\nfail x\nsay two", capture_output=True, text=True, timeout=60, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "kn1: one\nkn1: two\nprompt ended: EXHAUSTED\n"
    assert done.stderr == 'Error (kn1): no "x"\nhint: try another\n'
