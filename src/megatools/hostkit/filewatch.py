"""Be told when files change: inotify(7), from the event loop.

Anyone may use it. A file is watched by its inode; one that is replaced by another is watched no longer.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

from megatools.hostkit.errors import NotFound, Unavailable

_EVENT = struct.Struct("=iIII")
_MODIFY, _CLOSE_WRITE = 0x2, 0x8
_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch:
    """A set of watched files; each has a callback that is called in the event loop after it changed."""

    def __init__(self) -> None:
        self._fd = -1
        self._callbacks: dict[int, Callable[[], None]] = {}

    def add(self, path: Path, changed: Callable[[], None]) -> int:
        """Watch a file; the number is for `remove`. Raises NotFound, Unavailable."""
        if self._fd < 0:
            self._fd = _libc.inotify_init1(_NONBLOCK | _CLOEXEC)
            if self._fd < 0:
                raise Unavailable(f"the kernel gives no inotify descriptor: {os.strerror(ctypes.get_errno())}")
            asyncio.get_running_loop().add_reader(self._fd, self._read)
        number = int(_libc.inotify_add_watch(self._fd, os.fsencode(path), _MODIFY | _CLOSE_WRITE))
        if number < 0:
            raise NotFound(f'cannot watch "{path}": {os.strerror(ctypes.get_errno())}')
        self._callbacks[number] = changed
        return number

    def remove(self, number: int) -> None:
        """Watch a file no longer; unknown numbers are ignored."""
        if self._callbacks.pop(number, None) is not None:
            _libc.inotify_rm_watch(self._fd, number)  # fails when the file is gone, and the watch with it

    def close(self) -> None:
        """Watch nothing any more."""
        self._callbacks.clear()
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        numbers: dict[int, None] = {}
        while at + _EVENT.size <= len(data):
            number, _, _, length = _EVENT.unpack_from(data, at)
            numbers[number] = None
            at += _EVENT.size + length
        for number in numbers:  # many changes at once are one call
            if (changed := self._callbacks.get(number)) is not None:
                changed()
