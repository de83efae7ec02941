"""A line prompt on a terminal, for the daemon's own prompt and for `-attach`.

History, completion in the manner of bash (TAB completes what is common, then lists), pasted text of several lines
handed out line by line, ^C clearing the line, and a pager for long output.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

MORE = "-- more: space or enter, q to stop -- "


def last_word(line: str) -> str:
    """The word the cursor is on: what follows the last space."""
    return line.rpartition(" ")[2]


def completed(line: str, candidates: Sequence[str]) -> str:
    """The line after TAB: its last word extended by all that the candidates have in common."""
    typed = last_word(line)
    common = os.path.commonprefix(list(candidates))  # noqa: RUF071 letters, not path parts, are wanted
    return line[: len(line) - len(typed)] + common if common.startswith(typed) else line


def columns(candidates: Sequence[str], width: int) -> str:
    """Candidates side by side, in columns that fit the terminal's width."""
    names = [candidate.strip() for candidate in candidates]
    cell = max(map(len, names), default=0) + 2
    per_row = max(1, width // cell)
    rows = [names[at : at + per_row] for at in range(0, len(names), per_row)]
    return "\n".join("".join(f"{name:<{cell}}" for name in row).rstrip() for row in rows)


class LinePrompt:
    """Asks for lines on the terminal; `suggest` says how an unfinished line may go on."""

    def __init__(self, suggest: Callable[[str], Awaitable[list[str]]], history: Sequence[str] = ()) -> None:
        self._suggest = suggest
        self._session: PromptSession[str] = PromptSession(
            history=InMemoryHistory(list(history)), key_bindings=self._keys(), enable_history_search=False
        )

    async def ask(self, message: str) -> list[str]:
        """Lines typed or pasted at the prompt; none after ^C. Raises EOFError for ^D."""
        try:
            return (await self._session.prompt_async(message, handle_sigint=False)).splitlines()
        except KeyboardInterrupt:
            return []

    def ask_now(self, message: str) -> list[str]:
        """The same for a program without an event loop."""
        try:
            return self._session.prompt(message).splitlines()
        except KeyboardInterrupt:
            return []

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-i")
        def complete(event: KeyPressEvent) -> None:
            line = event.current_buffer.document.text_before_cursor
            event.app.create_background_task(self._complete(event.current_buffer, line))

        @keys.add(Keys.BracketedPaste)
        def paste(event: KeyPressEvent) -> None:
            data = event.data.replace("\r\n", "\n").replace("\r", "\n")
            event.current_buffer.insert_text(data.rstrip("\n"))
            if data.endswith("\n"):
                event.current_buffer.validate_and_handle()

        return keys

    async def _complete(self, buffer: Buffer, line: str) -> None:
        """Extend the line there was at TAB; keys typed while the answer was on its way stay behind it."""
        candidates = await self._suggest(line)
        since = buffer.document.text_before_cursor
        if not candidates or not since.startswith(line):
            return
        longer = completed(line, candidates)
        if longer != line:
            typed = len(since) - len(line)
            buffer.cursor_position -= typed
            buffer.insert_text(longer[len(line) :])
            buffer.cursor_position += typed
        elif len(candidates) > 1:
            await run_in_terminal(lambda: print(columns(candidates, shutil.get_terminal_size().columns)))


def _more_session() -> PromptSession[str]:
    keys = KeyBindings()

    @keys.add("space")
    @keys.add("enter")
    def further(event: KeyPressEvent) -> None:
        event.app.exit(result="more")

    @keys.add("q")
    @keys.add("c-c")
    @keys.add("c-d")
    def stop(event: KeyPressEvent) -> None:
        event.app.exit(result="")

    @keys.add("<any>")
    def ignore(_event: KeyPressEvent) -> None:
        """Other keys do nothing."""

    return PromptSession(key_bindings=keys, erase_when_done=True)


def pages(text: str) -> list[str]:
    """The text cut into pieces that fit the terminal, one line left for the pager; one piece when it is none."""
    if not sys.stdout.isatty():
        return [text]
    size = shutil.get_terminal_size()
    height = max(2, size.lines - 1)
    result: list[list[str]] = [[]]
    used = 0
    for line in text.split("\n"):
        rows = max(1, -(-len(line) // size.columns))
        if used + rows > height and result[-1]:
            result.append([])
            used = 0
        result[-1].append(line)
        used += rows
    return ["\n".join(page) for page in result]


async def show(text: str) -> None:
    """Print a text, page by page when it is longer than the terminal."""
    for number, page in enumerate(pages(text)):
        if number and not await _more_session().prompt_async(MORE, handle_sigint=False):
            return
        print(page, flush=True)


def show_now(text: str) -> None:
    """The same for a program without an event loop."""
    for number, page in enumerate(pages(text)):
        if number and not _more_session().prompt(MORE):
            return
        print(page, flush=True)
