"""Start, watch and end other programs: the only module that does (house.md, R1).

Argument lists only, never a shell; a small environment of our own; standard input closed unless given;
every run has a time limit. Long-lived programs are known by an `Identity` (pid, start time, boot id), so
that a pid used again by another program is never mistaken for ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from megatools.hostkit.errors import CommandFailed, NotFound, Unavailable
from megatools.hostkit.posix_spawn import Spawned, posix_spawn
from megatools.hostkit.priority import make_ordinary

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TAIL_LINES = 8


@dataclass(frozen=True)
class Completed:
    """A program that ran to its end."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, undecodable bytes replaced."""
        return self.stdout.decode(errors="replace")


@dataclass(frozen=True)
class Identity:
    """Which process this is, for as long as the machine runs: pid, start time in clock ticks, boot id."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True)
class Account:
    """Whom a program runs as; only root may give it to others."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment programs get: PATH, HOME, a C.UTF-8 locale, and what the caller adds."""
    path = os.environ.get("PATH", "")
    kept = {"PATH": f"{path}:{_PATH}" if path else _PATH, "HOME": os.environ.get("HOME", "/root"), "LANG": "C.UTF-8"}
    for name in ("TERM", "TMPDIR", "XDG_RUNTIME_DIR", "SOURCE_DATE_EPOCH"):
        if name in os.environ:
            kept[name] = os.environ[name]
    return kept | dict(extra or {})


def which(program: str) -> Path | None:
    """Where a program is, on the PATH or in the system's own directories; None when it is absent."""
    found = shutil.which(program, path=environment()["PATH"])
    return Path(found) if found else None


@functools.cache
def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is no such process or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def identity_of(pid: int) -> Identity:
    """The identity of a running process; raises NotFound when there is none with this pid."""
    ticks = start_ticks(pid)
    if ticks is None:
        raise NotFound(f'no process with pid "{pid}"')
    return Identity(pid, ticks, boot_id())


def is_alive(identity: Identity) -> bool:
    """Whether exactly this process still runs."""
    return identity.boot_id == boot_id() and start_ticks(identity.pid) == identity.start_ticks


def open_pidfd(identity: Identity) -> int | None:
    """A pidfd for exactly this process, to be closed by the caller; None when it is gone."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except (ProcessLookupError, PermissionError):
        return None
    if is_alive(identity):  # checked after opening: the descriptor can no longer move to another process
        return pidfd
    os.close(pidfd)
    return None


def send_signal(identity: Identity, number: signal.Signals) -> bool:
    """Signal exactly this process; False when it is gone already."""
    pidfd = open_pidfd(identity)
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


async def wait_gone(identity: Identity, *, timeout_s: float | None = None) -> bool:
    """Wait until a process, a child or not, has ended; False when it still runs after `timeout_s`."""
    pidfd = open_pidfd(identity)
    if pidfd is None:
        return True
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    try:
        loop.add_reader(pidfd, gone.set)
        async with asyncio.timeout(timeout_s):
            await gone.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    return True


async def end(identity: Identity, *, grace_s: float = 3.0) -> None:
    """End a process: SIGTERM, then SIGKILL after `grace_s`; returns once it is gone."""
    if send_signal(identity, signal.SIGTERM) and not await wait_gone(identity, timeout_s=grace_s):
        send_signal(identity, signal.SIGKILL)
        await wait_gone(identity, timeout_s=grace_s)


class _Started(Protocol):
    """A child process, however it was started."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def send_signal(self, number: int, /) -> None: ...


class Child:
    """A long-lived program this process started; it may outlive us (`new_session`)."""

    def __init__(self, popen: _Started) -> None:
        self._popen = popen
        ticks = start_ticks(popen.pid)
        self.identity = Identity(popen.pid, -1 if ticks is None else ticks, boot_id())

    @property
    def pid(self) -> int:
        """The process id."""
        return self.identity.pid

    async def wait(self, *, timeout_s: float | None = None) -> int | None:
        """The exit status (negative: the signal that ended it); None when it still runs after `timeout_s`."""
        status = self._popen.poll()
        if status is not None:
            return status
        loop = asyncio.get_running_loop()
        pidfd = os.pidfd_open(self._popen.pid)  # still our zombie at worst: the pid cannot be reused
        ended = asyncio.Event()
        try:
            loop.add_reader(pidfd, ended.set)
            async with asyncio.timeout(timeout_s):
                await ended.wait()
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
        return self._popen.wait()

    def poll(self) -> int | None:
        """The exit status if it has ended, reaping it; None while it runs."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(number)


def spawn(
    argv: Sequence[str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    new_session: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
) -> Child:
    """Start a long-lived program and return at once. Streams are file descriptors; `account` is whom it runs as.

    Raises NotFound when the program is absent, Unavailable when the kernel refuses a process.
    """
    try:
        popen = subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            start_new_session=new_session,
            env=environment(env),
            cwd=cwd,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=account.groups if account else None,
        )
    except FileNotFoundError as error:
        raise NotFound(f'program "{argv[0]}" is not on this host', hint="run scripts/install") from error
    except OSError as error:
        raise Unavailable(f'cannot start "{argv[0]}"') from error
    make_ordinary(popen.pid)
    return Child(popen)


def _spawn_aside(argv: Sequence[str], output: int, pass_fds: Sequence[int], then: Callable[[int], None]) -> Child:
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        streams = (nothing, output, output)
        pid = posix_spawn(argv, environment(), streams=streams, pass_fds=pass_fds, new_session=True)
    except FileNotFoundError as error:
        raise NotFound(f'program "{argv[0]}" is not on this host', hint="run scripts/install") from error
    except OSError as error:
        raise Unavailable(f'cannot start "{argv[0]}"') from error
    finally:
        os.close(nothing)
    child = Child(Spawned(pid))
    then(pid)
    return child


async def spawn_aside(
    argv: Sequence[str], *, output: int, pass_fds: Sequence[int], then: Callable[[int], None]
) -> Child:
    """Start a long-lived program in its own session while the event loop goes on; for starting many at once.

    Standard output and error go to the descriptor `output`; `then` is called with the pid, in a worker thread, and
    must not raise. Raises as `spawn`.
    """
    starting = asyncio.get_running_loop().run_in_executor(None, _spawn_aside, argv, output, pass_fds, then)
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        child = await starting  # the thread cannot be stopped: what it started is
        child.signal(signal.SIGKILL)
        await child.wait()
        raise


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    check: bool = True,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a program to its end; it is killed with its whole session after `timeout_s`.

    Raises NotFound (absent), Unavailable (too slow) and, with `check`, CommandFailed (status not 0).
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment(env),
            cwd=cwd,
            pass_fds=tuple(pass_fds),
        )
    except FileNotFoundError as error:
        raise NotFound(f'program "{argv[0]}" is not on this host', hint="run scripts/install") from error
    make_ordinary(process.pid)
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin)
    except TimeoutError as error:
        raise Unavailable(f'"{argv[0]}" did not finish within {timeout_s:g} s') from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return _checked(Completed(tuple(argv), process.returncode, out, err), check=check)


def run_sync(
    argv: Sequence[str],
    *,
    timeout_s: float,
    check: bool = True,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Completed:
    """The same for programs that have no event loop (igor's command line, vmbetter's stages)."""
    try:
        popen = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment(env),
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise NotFound(f'program "{argv[0]}" is not on this host', hint="run scripts/install") from error
    try:
        out, err = popen.communicate(stdin, timeout=timeout_s)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        popen.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Unavailable(f'"{argv[0]}" did not finish within {timeout_s:g} s') from None
        raise
    return _checked(Completed(tuple(argv), popen.returncode, out, err), check=check)


def _checked(done: Completed, *, check: bool) -> Completed:
    if check and done.status != 0:
        raise CommandFailed(failure_text(done))
    return done


def failure_text(done: Completed) -> str:
    """Why a program failed, in one sentence: its name, status and the last lines it wrote to stderr."""
    name = Path(done.argv[0]).name
    how = (
        f"was ended by {signal.Signals(-done.status).name}" if done.status < 0 else f"exited with status {done.status}"
    )
    last = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()][-_TAIL_LINES:]
    return f'"{name}" {how}' + (f": {'; '.join(last)}" if last else "")


def replace_this_process(argv: Sequence[str], env: Mapping[str, str] | None = None) -> NoReturn:
    """Become another program (exec)."""
    os.execve(argv[0], list(argv), dict(os.environ if env is None else env))


def readable(fd: int, *, timeout_s: float) -> bool:
    """Whether a descriptor becomes readable in time (for code without an event loop)."""
    return bool(select.select([fd], [], [], timeout_s)[0])
