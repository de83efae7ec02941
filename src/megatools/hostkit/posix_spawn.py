"""Start a program without copying this process and without stopping its other threads: posix_spawn(3) through ctypes.

Used by `proc` only. Python's own ways to start a program hold the interpreter's lock until the new program runs, and
on a busy host that is 10 ms and more: an event loop with a hundred machines to launch would stutter (decision 0017).
A ctypes call gives the lock up; glibc uses CLONE_VFORK, so nothing is copied either.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Mapping, Sequence

_SETSIGDEF = 0x04  # spawn.h
_SETSID = 0x80
_ATTR_BYTES = 512  # posix_spawnattr_t and the file actions are smaller than this on every glibc
_SIGSET_BYTES = 128
_STANDARD_ERROR = 2


class _Libc:
    """The functions of libc we call, looked up once."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.sigset = ctypes.create_string_buffer(_SIGSET_BYTES)
        self.libc.sigemptyset(self.sigset)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these; programs expect their defaults
            self.libc.sigaddset(self.sigset, int(number))
        for entry in os.listdir("/proc/self/fd"):  # what our own parent left open is not for our children
            with contextlib.suppress(OSError):
                if int(entry) > _STANDARD_ERROR:
                    os.set_inheritable(int(entry), False)


_loaded: list[_Libc] = []


def _libc() -> _Libc:
    if not _loaded:
        _loaded.append(_Libc())
    return _loaded[0]


def posix_spawn(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    streams: tuple[int, int, int],
    pass_fds: Sequence[int],
    new_session: bool,
) -> int:
    """Start `argv[0]` (a path, or a name on `env["PATH"]` of this process); returns its pid. Raises OSError.

    `streams` become its standard input, output and error. All other descriptors must be close-on-exec, as Python
    makes them; inherited ones are made so at the first call.
    """
    system = _libc()
    actions = ctypes.create_string_buffer(_ATTR_BYTES)
    attributes = ctypes.create_string_buffer(_ATTR_BYTES)
    system.libc.posix_spawn_file_actions_init(actions)
    system.libc.posix_spawnattr_init(attributes)
    try:
        # A dup2 onto itself clears close-on-exec (glibc 2.29).
        places = [(fd, number) for number, fd in enumerate(streams)] + [(fd, fd) for fd in pass_fds]
        for source, target in places:
            _check(system.libc.posix_spawn_file_actions_adddup2(actions, source, target), argv[0])
        flags = _SETSIGDEF | (_SETSID if new_session else 0)
        _check(system.libc.posix_spawnattr_setflags(attributes, ctypes.c_short(flags)), argv[0])
        _check(system.libc.posix_spawnattr_setsigdefault(attributes, system.sigset), argv[0])
        pid = ctypes.c_int()
        words, variables = _strings(argv), _strings([f"{name}={value}" for name, value in env.items()])
        path = os.fsencode(argv[0])
        _check(system.libc.posix_spawnp(ctypes.byref(pid), path, actions, attributes, words, variables), argv[0])
        return pid.value
    finally:
        system.libc.posix_spawn_file_actions_destroy(actions)
        system.libc.posix_spawnattr_destroy(attributes)


def _strings(items: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(items) + 1))(*(os.fsencode(item) for item in items), None)


def _check(status: int, program: str) -> None:
    if status:
        raise OSError(status, os.strerror(status), program)


class Spawned:
    """A child started by `posix_spawn`, to be reaped: the part of subprocess.Popen that `proc.Child` uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """The exit status if it has ended (negative: the signal), reaping it."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """The exit status; blocks until it has ended."""
        status = self._reap(0)
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Signal it unless it has been reaped."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _reap(self, options: int) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, options)
            if pid == self.pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status
