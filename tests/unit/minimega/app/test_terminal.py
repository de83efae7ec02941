"""What the terminal prompt computes: completion and pages."""

from __future__ import annotations

import os

import pytest

from megatools.minimega.app import terminal


@pytest.mark.parametrize(
    ("line", "candidates", "result"),
    [
        ("vm st", ["start ", "stop "], "vm st"),
        ("vm sta", ["start "], "vm start "),
        ("vm ", ["info ", "info-x "], "vm info"),
        ("", ["vm "], "vm "),
        ("vm kill x", ["abc "], "vm kill x"),
    ],
)
def test_tab_completes_what_is_common(line, candidates, result):
    assert terminal.completed(line, candidates) == result


def test_candidates_stand_in_columns():
    assert terminal.columns(["a ", "bbb ", "cc "], 10) == "a    bbb\ncc"
    assert terminal.columns(["a" * 50], 10) == "a" * 50


def test_pages_hold_every_line_once(monkeypatch):
    monkeypatch.setattr(terminal.sys, "stdout", Terminal())
    monkeypatch.setattr(terminal.shutil, "get_terminal_size", lambda: os.terminal_size((20, 5)))
    text = "\n".join([str(number) for number in range(11)] + ["x" * 45, "", "end"])
    pages = terminal.pages(text)
    assert "\n".join(pages) == text
    assert len(pages) == 5
    assert all(sum(max(1, -(-len(line) // 20)) for line in page.split("\n")) <= 4 for page in pages)


class Terminal:
    def isatty(self) -> bool:
        return True
