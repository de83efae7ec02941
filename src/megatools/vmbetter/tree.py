"""Trees as layers: what the packages made, and what overlays and postbuild scripts changed.

Called by the stages, the builder and the targets. The base is a tar with an index beside it; a layer is a tar of the
entries that are new or different, with a list of what is gone. Layers are found by overlayfs, never by comparing.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec

_OVERLAY_XATTR = "SCHILY.xattr.user.overlay."
_TIMES = ("atime", "ctime", "mtime")
_KINDS = {
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "again",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a tree: kind is file, folder, link (symbolic), again (hard link to `target`), device or pipe."""

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: str = ""


def name_of(member: tarfile.TarInfo) -> str:
    """A member's path without a leading "./" or "/"; "." for the top."""
    return member.name.removeprefix("./").strip("/") or "."


def member_of(info: tarfile.TarInfo) -> Member:
    """What the index keeps of a tar's member."""
    kind = _KINDS.get(info.type, "file")
    target = info.linkname.removeprefix("./") if info.islnk() else info.linkname
    size = info.size if kind == "file" else 0
    return Member(name_of(info), kind, info.mode, info.uid, info.gid, int(info.mtime), size, target)


def index(tar: Path) -> list[Member]:
    """The members of a plain tar."""
    with tarfile.open(tar, "r:") as archive:
        return [member_of(info) for info in archive]


class Layer(msgspec.Struct, frozen=True):
    """Changes to a tree: a plain tar, paths that are gone, and folders of which nothing older is left."""

    tar: Path
    gone: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()

    def hides(self, members: Iterable[Member]) -> Callable[[str], bool]:
        """Whether an older path is not to be seen any more; `members` are the layer's own."""
        kinds = {member.name: member.kind for member in members}
        gone, opaque = set(self.gone), set(self.opaque)

        def hidden(name: str) -> bool:
            if name in kinds or name in gone:
                return True
            at = name
            while "/" in at:
                at = at.rpartition("/")[0]
                if at in gone or at in opaque or kinds.get(at, "folder") != "folder":
                    return True
            return False

        return hidden


def from_upper(raw: Path, target: Path, *, epoch: int) -> Layer:
    """The layer in the tar of an overlayfs's upper folder: whiteouts and marks become lists, times are clamped."""
    gone: list[str] = []
    opaque: list[str] = []
    with tarfile.open(raw, "r:") as source, tarfile.open(target, "w:", format=tarfile.PAX_FORMAT) as made:
        for info in source:
            name = name_of(info)
            if info.ischr() and (info.devmajor, info.devminor) == (0, 0):
                gone.append(name)
                continue
            if info.pax_headers.get(f"{_OVERLAY_XATTR}opaque") in ("y", "x"):
                opaque.append(name)
            add(made, info, source.extractfile(info) if info.isreg() else None, epoch=epoch)
    return Layer(target, tuple(sorted(gone)), tuple(sorted(opaque)))


def add(made: tarfile.TarFile, info: tarfile.TarInfo, content: IO[bytes] | None, *, epoch: int) -> None:
    """Add a member as all layers have it: numeric owners, whole seconds not after `epoch`, no overlayfs marks."""
    kept = {
        key: value
        for key, value in info.pax_headers.items()
        if not key.startswith(_OVERLAY_XATTR) and key.startswith("SCHILY.xattr.")
    }
    info.pax_headers = kept
    info.mtime = min(int(info.mtime), epoch)
    info.uname = info.gname = ""
    made.addfile(info, content)


def merge(base: Path, layer: Layer, target: Path) -> None:
    """One plain tar of a base's tar and a layer over it."""
    with tarfile.open(layer.tar, "r:") as upper:
        newer = [member_of(info) for info in upper]
    hidden = layer.hides(newer)
    with base.open("rb") as source, tarfile.open(base, "r:") as archive, target.open("wb") as stream:
        members = archive.getmembers()
        ends = [info.offset for info in members[1:]] + [archive.offset]
        keep = [not hidden(name_of(info)) for info in members]
        repaired = _repaired(members, keep)
        for begin, end in _runs(members, ends, keep, repaired):
            _copy(source.fileno(), stream, begin, end)
        for info in repaired.values():
            _raw(stream, info, archive.extractfile(info) if info.isreg() else None)
        with layer.tar.open("rb") as over:
            _copy(over.fileno(), stream, 0, layer.tar.stat().st_size)


def _repaired(members: list[tarfile.TarInfo], keep: list[bool]) -> dict[int, tarfile.TarInfo]:
    """Hard links whose first name is hidden: the next name gets the content."""
    hidden = {name_of(info): info for info, kept in zip(members, keep, strict=True) if not kept and info.isreg()}
    heirs: dict[str, str] = {}
    found: dict[int, tarfile.TarInfo] = {}
    for number, info in enumerate(members):
        first = info.linkname.removeprefix("./") if info.islnk() else ""
        if not keep[number] or first not in hidden:
            continue
        if first in heirs:
            info.linkname = f"./{heirs[first]}"
        else:
            heirs[first] = name_of(info)
            name, info = info.name, hidden[first]
            info.name = name
            info.pax_headers = {key: value for key, value in info.pax_headers.items() if key != "path"}
        found[number] = info
    return found


def _runs(
    members: list[tarfile.TarInfo], ends: list[int], keep: list[bool], repaired: dict[int, tarfile.TarInfo]
) -> Iterator[tuple[int, int]]:
    """Stretches of the base's tar that are taken over as they are."""
    begin = end = 0
    for number, info in enumerate(members):
        if not keep[number] or number in repaired:
            continue
        if info.offset != end:
            if end > begin:
                yield begin, end
            begin = info.offset
        end = ends[number]
    if end > begin:
        yield begin, end


def _raw(stream: IO[bytes], info: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    stream.write(info.tobuf(tarfile.PAX_FORMAT))
    if content is not None:
        data = content.read()
        stream.write(data + b"\0" * (-len(data) % 512))


def _copy(source: int, target: IO[bytes], begin: int, end: int) -> None:
    target.flush()
    while begin < end:
        copied = os.sendfile(target.fileno(), source, begin, min(end - begin, 1 << 30))
        if not copied:
            raise OSError("a tar ended early")
        begin += copied
