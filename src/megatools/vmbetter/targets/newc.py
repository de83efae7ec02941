"""Write a cpio archive in the "newc" format, as the kernel unpacks it (its buffer-format documentation).

Called by the initrd target. Pure: takes tar members, writes bytes. The same members give the same bytes: sorted by
name, inodes numbered from 1, times at most `epoch`.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
from collections.abc import Callable
from typing import IO

from megatools.hostkit.errors import InvalidInput

_BLOCK = 512
_PAGE = 4096
_LARGEST = 0xFFFFFFFF  # eight hexadecimal digits
_KINDS = {
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def name_of(member: tarfile.TarInfo) -> str:
    """A member's path without a leading "./" or "/"; "." for the top."""
    return member.name.removeprefix("./").strip("/") or "."


def type_bits(member: tarfile.TarInfo) -> int:
    """A member's kind as the upper bits of an inode's mode."""
    return _KINDS.get(member.type, stat.S_IFREG)


def header(  # one argument for each field that varies
    *,
    inode: int,
    mode: int,
    owner: tuple[int, int],
    links: int,
    mtime: int,
    size: int,
    device: tuple[int, int],
    name: bytes,
) -> bytes:
    """One record's header with its name, padded to four bytes; `name` without the final zero."""
    numbers = (inode, mode, *owner, links, mtime, size, 0, 0, *device, len(name) + 1, 0)
    record = b"070701" + b"".join(b"%08X" % number for number in numbers) + name + b"\0"
    return record + b"\0" * (-len(record) % 4)


def write(
    archive: tarfile.TarFile,
    target: IO[bytes],
    *,
    epoch: int,
    keep: Callable[[str], bool],
    extra: dict[str, str | bytes] | None = None,
) -> int:
    """Write the members that `keep` (asked with their names) wants; returns the bytes they take once unpacked.

    `extra` are links to a path (str) and programs with this content (bytes), where no member has the name.
    Raises InvalidInput for a file that the format cannot hold.
    """
    chosen = {name_of(member): member for member in archive.getmembers() if keep(name_of(member))}
    programs: dict[str, bytes] = {}
    for name, what in (extra or {}).items():
        if name not in chosen:
            chosen[name] = _added(name, what, epoch)
            if isinstance(what, bytes):
                programs[name] = what
    shared = _shared(chosen)
    inodes: dict[str, int] = {}
    written = unpacked = 0
    for name in sorted(chosen):
        member = chosen[name]
        first = shared.get(name, (name, 1))
        again = first[0] in inodes
        inode = inodes.setdefault(first[0], len(inodes) + 1)
        origin = archive.getmember(chosen[name].linkname) if member.islnk() else member
        data = programs.get(name) or _text(member)
        size = len(data) if data else (0 if again or not origin.isreg() else origin.size)
        if size > _LARGEST:
            text = f'"/{name}" has {size} bytes, a file of an initrd at most {_LARGEST}'
            raise InvalidInput(text, hint="build a --disk, or leave the file out")
        written += target.write(
            header(
                inode=inode,
                mode=stat.S_IMODE(origin.mode) | type_bits(origin),
                owner=(origin.uid, origin.gid),
                links=2 if member.isdir() else first[1],
                mtime=min(int(origin.mtime), epoch),
                size=size,
                device=(origin.devmajor, origin.devminor) if origin.isdev() else (0, 0),
                name=name.encode("utf-8", "surrogateescape"),
            )
        )
        if data:
            target.write(data)
        elif size:
            content = archive.extractfile(origin)
            assert content is not None
            shutil.copyfileobj(content, target, 1 << 20)
        target.write(b"\0" * (-size % 4))
        written += size + (-size % 4)
        unpacked += pages(size) if origin.isreg() else 0
    end = header(inode=0, mode=0, owner=(0, 0), links=1, mtime=0, size=0, device=(0, 0), name=b"TRAILER!!!")
    target.write(end)
    target.write(b"\0" * (-(written + len(end)) % _BLOCK))
    return unpacked


def pages(size: int) -> int:
    """What a file of this size takes in a tmpfs, in bytes."""
    return -(-size // _PAGE) * _PAGE


def _added(name: str, what: str | bytes, epoch: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.mtime = epoch
    if isinstance(what, str):
        made.type, made.linkname, made.mode = tarfile.SYMTYPE, what, 0o777
    else:
        made.size, made.mode = len(what), 0o755
    return made


def _text(member: tarfile.TarInfo) -> bytes:
    return member.linkname.encode("utf-8", "surrogateescape") if member.issym() else b""


def _shared(chosen: dict[str, tarfile.TarInfo]) -> dict[str, tuple[str, int]]:
    """Names that are one file: each name with the one that stands for all of them, and how many there are."""
    groups: dict[str, list[str]] = {}
    for name, member in chosen.items():
        if member.islnk():
            origin = member.linkname.removeprefix("./").strip("/")
            groups.setdefault(origin, [origin] if origin in chosen else []).append(name)
    return {name: (min(names), len(names)) for names in groups.values() for name in names}
