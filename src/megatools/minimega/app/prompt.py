"""The daemon's own prompt, inside its event loop; started by `app/daemon.py`.

On a terminal it edits, completes and pages; otherwise it runs the lines of standard input until they end.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from enum import Enum, auto
from typing import Generic, TypeVar

from megatools.minimega.app.client import error_text
from megatools.minimega.lang.call import Session
from megatools.minimega.lang.interpreter import Interpreter

S = TypeVar("S")


class PromptEnd(Enum):
    """Why the prompt ended: the user left the terminal with ^D, or the lines of standard input are used up."""

    LEFT = auto()
    EXHAUSTED = auto()


class Prompt(Generic[S]):
    """Reads lines and runs them in one session."""

    def __init__(self, interpreter: Interpreter[S], namespace: str, mark: str = "") -> None:
        """`mark` stands in the prompt, to remind of something."""
        self._interpreter = interpreter
        self._mark = f" {mark}" if mark else ""
        self._session = Session(namespace=namespace, source="prompt", status=_status)

    async def run(self) -> PromptEnd:
        """Read and run until the end of input; cancel it to end it sooner."""
        if sys.stdin.isatty() and sys.stdout.isatty():
            await self._converse()
            return PromptEnd.LEFT
        async for line in standard_input():
            await self.execute(line)
        return PromptEnd.EXHAUSTED

    async def execute(self, line: str) -> None:
        """Run one line and print what it yields: results to standard output, errors to standard error."""
        async for output in self._interpreter.execute(line, self._session):
            if output.rendered:
                await self._show(output.rendered)
            for response in output.group or ():
                if response.error:
                    print(error_text(response.host, response.error), file=sys.stderr, flush=True)

    async def _show(self, text: str) -> None:
        if sys.stdin.isatty() and sys.stdout.isatty():
            from megatools.minimega.app.terminal import show

            await show(text)
        else:
            print(text, flush=True)

    async def _converse(self) -> None:
        from prompt_toolkit.patch_stdout import patch_stdout

        from megatools.minimega.app.terminal import LinePrompt

        prompt = LinePrompt(self._suggest, self._interpreter.history.lines())
        while True:
            try:
                with patch_stdout(raw=True):
                    lines = await prompt.ask(f"minimega[{self._session.namespace}]{self._mark}$ ")
            except EOFError:
                return
            for line in lines:
                await self.execute(line)

    async def _suggest(self, line: str) -> list[str]:
        return await self._interpreter.suggest(line, self._session)


def _status(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def standard_input() -> AsyncIterator[str]:
    """The lines of standard input, whatever it is: a pipe, a file, a terminal.

    A thread reads them, because a loop cannot watch files; it is a daemon thread, so that a read that never ends does
    not keep the program alive.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    taken = threading.Semaphore(1000)

    def read() -> None:
        for line in sys.stdin:
            taken.acquire()
            loop.call_soon_threadsafe(lines.put_nowait, line.rstrip("\n"))
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line
        taken.release()
