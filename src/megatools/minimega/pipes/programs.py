"""Programs a user runs on the host: `shell` waits for them, `background` does not.

The words are an argument list, never a shell's text. Finished background programs are remembered, the newest 50.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidInput, InvalidState, NotFound
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.lang.answer import Answer, rows_table
from megatools.minimega.lang.operation import Handlers, Operation, Reach

_SHELL_LIMIT_S = 24 * 3600.0
_KEPT = 50
_OUTPUT_LIMIT = 16 << 20


class RunProgram(Operation, frozen=True):
    """Run a program to its end and answer with what it wrote."""

    reach: ClassVar[Reach] = Reach.LOCAL

    argv: tuple[str, ...]


class StartProgram(Operation, frozen=True):
    """Start a program in the background."""

    reach: ClassVar[Reach] = Reach.LOCAL

    argv: tuple[str, ...]


class ListPrograms(Operation, frozen=True):
    """List background programs, or one by id."""

    reach: ClassVar[Reach] = Reach.LOCAL
    reads: ClassVar[bool] = True

    id: str = ""


class ReadProgram(Operation, frozen=True):
    """What a finished background program wrote: its `output`, or its `error` stream."""

    reach: ClassVar[Reach] = Reach.LOCAL
    reads: ClassVar[bool] = True

    id: str
    stream: str


class ForgetPrograms(Operation, frozen=True):
    """Forget the finished background programs."""

    reach: ClassVar[Reach] = Reach.LOCAL


class ProgramRow(msgspec.Struct, frozen=True, rename="upper"):
    """A line of `background-status`."""

    id: int
    pid: int
    running: bool
    error: str
    time_start: str
    time_end: str
    command: str


@dataclass
class _Program:
    id: int
    child: proc.Child
    argv: tuple[str, ...]
    output: Path
    error: Path
    started_s: float
    ended_s: float | None = None
    status: int | None = None


class Programs:
    """The background programs of this daemon."""

    def __init__(self, supervisor: Supervisor, home: Path) -> None:
        """`home` is a directory for what programs write: made when one starts, emptied of what a dead daemon left."""
        self._supervisor = supervisor
        self._programs: dict[int, _Program] = {}
        self._next = 1
        self._home = home
        if home.exists():
            shutil.rmtree(home)

    def handlers(self) -> Handlers:
        """What hosts can be asked."""
        return {
            RunProgram: self._run,
            StartProgram: self._start,
            ListPrograms: self._list,
            ReadProgram: self._read,
            ForgetPrograms: self._forget,
        }

    async def close(self) -> None:
        """Forget everything; programs that run go on."""
        if self._home.exists():
            await asyncio.to_thread(shutil.rmtree, self._home)

    async def _run(self, _namespace: str, asked: RunProgram) -> Answer:
        _check_program(asked.argv[0])
        done = await proc.run(asked.argv, timeout_s=_SHELL_LIMIT_S, check=False)
        if done.status != 0:
            both = [done.text.rstrip(), proc.failure_text(done)]
            raise InvalidState(f"exit status {done.status}: " + "\n".join(text for text in both if text))
        return Answer(
            "\n".join(t for t in (done.text.rstrip("\n"), done.stderr.decode(errors="replace").rstrip("\n")) if t)
        )

    async def _start(self, _namespace: str, asked: StartProgram) -> Answer:
        _check_program(asked.argv[0])
        number, self._next = self._next, self._next + 1
        self._home.mkdir(mode=0o700, exist_ok=True)
        output, error = self._home / f"{number}.out", self._home / f"{number}.err"
        out_fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        err_fd = os.open(error, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            child = proc.spawn(asked.argv, stdout=out_fd, stderr=err_fd)
        except Exception:
            output.unlink()
            error.unlink()
            raise
        finally:
            os.close(out_fd)
            os.close(err_fd)
        program = _Program(number, child, asked.argv, output, error, time.time())
        self._programs[number] = program
        self._supervisor.start(f"background program {number}", self._watch(program))
        return Answer(f"Started background process with id {number}")

    async def _watch(self, program: _Program) -> None:
        program.status = await program.child.wait()
        program.ended_s = time.time()
        finished = [each for each in self._programs.values() if each.ended_s is not None]
        for old in finished[:-_KEPT]:
            _remove(self._programs.pop(old.id))

    async def _list(self, _namespace: str, asked: ListPrograms) -> Answer:
        programs = [self._find(asked.id)] if asked.id else list(self._programs.values())
        return Answer(table=rows_table(ProgramRow, [_row(program) for program in programs]))

    async def _read(self, _namespace: str, asked: ReadProgram) -> Answer:
        program = self._find(asked.id)
        if program.ended_s is None:
            raise InvalidState("wait for process to finish before reading output")
        path = program.output if asked.stream == "output" else program.error
        with path.open("rb") as stream:
            return Answer(stream.read(_OUTPUT_LIMIT).decode(errors="replace").rstrip("\n"))

    async def _forget(self, _namespace: str, _asked: ForgetPrograms) -> Answer:
        for program in [each for each in self._programs.values() if each.ended_s is not None]:
            _remove(self._programs.pop(program.id))
        return Answer()

    def _find(self, text: str) -> _Program:
        if not text.isdecimal():
            raise InvalidInput(f'invalid background id "{text}"', hint="`background-status` lists them")
        program = self._programs.get(int(text))
        if program is None:
            raise NotFound("provided id does not exist in background process table")
        return program


def _check_program(name: str) -> None:
    if proc.which(name) is None:
        raise NotFound(f'program "{name}" is not on this host', hint='for the words of a shell: shell sh -c "..."')


def _row(program: _Program) -> ProgramRow:
    return ProgramRow(
        program.id,
        program.child.pid,
        program.ended_s is None,
        "" if program.status in (None, 0) else f"exit status {program.status}",
        _moment(program.started_s),
        "" if program.ended_s is None else _moment(program.ended_s),
        " ".join(program.argv),
    )


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _remove(program: _Program) -> None:
    program.output.unlink(missing_ok=True)
    program.error.unlink(missing_ok=True)
