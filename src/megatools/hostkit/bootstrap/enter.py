"""Become a program in another root: `python -m megatools.hostkit.bootstrap.enter TREE LOAN PROGRAM [ARGUMENT...]`.

Started contained (in namespaces of its own), by vmbetter's postbuild stage; the tree must be a mount point. The old
root is unmounted, so that nothing of the host can be reached any more, whatever the program does; all that is mounted
in its /sys becomes read-only; capabilities that reach beyond the tree are given up for good. NAME=VALUE words before
the program are its environment. The program gets the host's resolver; LOAN is the file that says what to take back,
which is done by the same words without a program.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.bootstrap import resolver
from megatools.hostkit.errors import MegaError, Unavailable, chain_text

_PIVOT_ROOT = {"x86_64": 155}  # the system call's number; 41 on all newer architectures
_PIVOT_ROOT_NEWER = 41
_MOUNT_SETATTR = 442  # the same everywhere; Linux 5.12
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_SEALED = 0x1 | 0x2 | 0x4 | 0x8  # mount_attr: rdonly, nosuid, nodev, noexec
_MNT_DETACH = 2
_PR_CAPBSET_DROP = 24
# capabilities(7): dac_read_search, net_admin, sys_module, sys_rawio, sys_ptrace, sys_admin, sys_boot, sys_time,
# mac_override, mac_admin, syslog, wake_alarm, block_suspend, perfmon, bpf
_LOST = (2, 12, 16, 17, 19, 21, 22, 25, 32, 33, 34, 35, 36, 38, 39)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise Unavailable(f"cannot {what}") from OSError(number, os.strerror(number))


def _seal(libc: ctypes.CDLL, folder: bytes) -> None:
    """Make a mount and all mounts below it read-only (a /sys lent by the host brings others along)."""
    attributes = struct.pack("=4Q", _SEALED, 0, 0, 0)
    done = libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, folder, _AT_RECURSIVE, attributes, len(attributes))
    _checked(done, "make /sys read-only")


def main() -> None:
    """Do what the module says; the arguments are the process's own."""
    tree, kept, *words = sys.argv[1:]
    content = resolver.of_host()
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(kept).open("r+b" if not words else "wb") as loan:  # closed before the program begins
        _change_root(libc, tree)
        if not words:
            resolver.take_back(msgspec.json.decode(loan.read(), type=resolver.Loan))
            return
        lent = resolver.lend(content)
        loan.write(msgspec.json.encode(lent) if lent is not None else b"")
    _give_up(libc)
    environment: dict[str, str] = {}
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # a folder of the host would be a way out
    try:
        proc.replace_this_process(words, environment)
    except OSError as error:
        raise Unavailable(f'cannot start "{words[0]}" in the tree') from error


def _change_root(libc: ctypes.CDLL, tree: str) -> None:
    os.chdir(tree)
    _seal(libc, b"sys")
    number = _PIVOT_ROOT.get(platform.machine(), _PIVOT_ROOT_NEWER)
    _checked(libc.syscall(number, b".", b"."), "change the root")
    _checked(libc.umount2(b".", _MNT_DETACH), "leave the old root")
    os.chdir("/")


def _give_up(libc: ctypes.CDLL) -> None:
    for capability in _LOST:
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for those an older kernel does not know


if __name__ == "__main__":
    try:
        main()
    except MegaError as failed:
        sys.exit(chain_text(failed))
