"""Booting: `tiny` to its login prompt, against what its bare kernel needs, in turns in one run.

Used by `bench.vmbetter`. The reference is the same kernel in the same QEMU with the same memory and command line, and
an initrd of nothing but a static busybox and a first program that says at once that it runs.
"""

from __future__ import annotations

import io
import statistics
import tarfile
from collections.abc import Iterable
from pathlib import Path

from bench.promise import Result
from megatools.hostkit import proc
from megatools.vmbetter import boottest
from megatools.vmbetter.targets import newc

_LIMIT = 1.3
_ROUNDS = 5
_MEMORY_MIB = 256
_PROMPT = r"root@\S*# "
_MARK = "megatools: first program"
_FIRST = f'#!/bin/busybox sh\necho "{_MARK}"\nexec /bin/busybox sleep 86400\n'


def results(kernel: Path, initrd: Path, place: Path, rounds: int | None) -> Iterable[Result]:
    """The promise; `rounds` None is enough of them."""
    bare = place / "bare.initrd"
    _write_bare(bare)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds or _ROUNDS):
        theirs.append(_boot(kernel, bare, _MARK))
        ours.append(_boot(kernel, initrd, _PROMPT))
    value, reference = statistics.median(ours), statistics.median(theirs)
    yield Result("boot tiny to its prompt", value, "s", reference, value / reference, _LIMIT, False)


def _boot(kernel: Path, initrd: Path, marker: str) -> float:
    (machine,) = boottest.machines({"kernel": kernel, "initrd": initrd})
    return boottest.boot(machine, memory_mib=_MEMORY_MIB, marker=marker)


def _write_bare(target: Path) -> None:
    busybox = proc.which("busybox")
    assert busybox is not None, "busybox is not on this host"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tree:
        for name in ("bin", "dev"):
            _add(tree, name, tarfile.DIRTYPE)
        _add(tree, "dev/console", tarfile.CHRTYPE, device=(5, 1))
        _add(tree, "bin/busybox", tarfile.REGTYPE, busybox.read_bytes())
        _add(tree, "init", tarfile.REGTYPE, _FIRST.encode())
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tree, target.open("wb") as made:
        newc.write(tree, made, epoch=1, keep=lambda name: True)


def _add(tree: tarfile.TarFile, name: str, kind: bytes, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size = kind, 0o755, len(content)
    member.devmajor, member.devminor = device
    tree.addfile(member, io.BytesIO(content))
