"""Second stage: files of the overlays, as a layer over the packages' tree.

Called by the builder. Nothing is written into a tree here, so nothing on this host can be hit: where an overlay's file
goes is found in the tree's index. Modes, hard and symbolic links and extended attributes are kept, times are the
image's. Owners too, except that files which belong to whoever owns the overlay's top folder (a checkout's user) belong
to root in the image. Folders of the tree that are links (usr-merge: /bin is usr/bin) are followed, never out of it.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from megatools.hostkit.errors import InvalidInput, PermissionDenied, Unavailable
from megatools.vmbetter import tree
from megatools.vmbetter.cache import digest_of
from megatools.vmbetter.tree import Layer, Member

STAGE = "overlays"
FORMAT = 2
_LINKS_AT_MOST = 40
_XATTRS = ("user.", "security.capability")
_XATTR_NAME = re.compile(r"[A-Za-z0-9._-]+")


def walk(overlay: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Every entry below an overlay: its path inside, on the host, and what it is; sorted, folders first.

    Raises InvalidInput for a device node, a socket or a pipe, PermissionDenied for a folder that may not be read.
    """

    def refuse(error: OSError) -> None:
        raise PermissionDenied(f'"{error.filename}" in an overlay may not be read') from error

    for folder, folders, names in os.walk(overlay, onerror=refuse):
        folders.sort()
        for name in sorted([*folders, *names]):
            path = Path(folder) / name
            status = path.lstat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
                raise InvalidInput(f'"{path}" in an overlay is neither a file, a folder nor a link')
            yield str(path.relative_to(overlay)), path, status


def digest(overlay: Path) -> list[list[object]]:
    """What of an overlay decides the result, for a key."""
    top = overlay.stat()
    rows: list[list[object]] = []
    for inside, path, status in walk(overlay):
        content = ""
        if stat.S_ISREG(status.st_mode):
            content = _digest(path)
        elif stat.S_ISLNK(status.st_mode):
            content = plain(str(path.readlink()))
        again = status.st_ino if status.st_nlink > 1 and stat.S_ISREG(status.st_mode) else 0
        attributes = sorted((plain(key), plain(value)) for key, value in _attributes(path).items())
        rows.append([plain(inside), status.st_mode, *_owner(status, top), content, again, attributes])
    return rows


def plain(text: str) -> str:
    """A text as JSON can have it, told apart from all others: of what is not UTF-8, bytes are written in hex."""
    try:
        text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogateescape").replace(b"\\", b"\\\\")
        return "\0" + data.decode("utf-8", "backslashreplace")
    return text


def _digest(path: Path) -> str:
    try:
        return digest_of(path)
    except PermissionError as error:
        raise PermissionDenied(f'"{path}" in an overlay may not be read') from error


def _owner(status: os.stat_result, top: os.stat_result) -> tuple[int, int]:
    uid = 0 if status.st_uid == top.st_uid else status.st_uid
    gid = 0 if status.st_gid == top.st_gid else status.st_gid
    return uid, gid


def _attributes(path: Path) -> dict[str, str]:
    """Extended attributes that an image takes over, in a tar's spelling. Raises InvalidInput for an odd name."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:  # a filesystem without them
        return {}
    taken = [name for name in names if name.startswith(_XATTRS)]
    if odd := [name for name in taken if not _XATTR_NAME.fullmatch(name)]:
        raise InvalidInput(f'"{path}" in an overlay has an extended attribute with the name {odd[0]!r}')
    return {
        f"SCHILY.xattr.{name}": os.getxattr(path, name, follow_symlinks=False).decode("utf-8", "surrogateescape")
        for name in taken
    }


class _Planned(msgspec.Struct, frozen=True):
    """An entry of the layer in the making: where its content is on this host, if it has one of its own."""

    info: tarfile.TarInfo
    source: Path | None = None


class View:
    """A tree's entries, as links lead; changed by what overlays put over it."""

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = {member.name: member for member in members}

    def kind(self, name: str) -> str:
        """The kind of an entry; empty when there is none."""
        if name in (".", ""):
            return "folder"
        return self.members[name].kind if name in self.members else ""

    def resolve(self, path: str) -> str:
        """Where a path leads when the tree is the root: links are followed, `..` stops at the top."""
        todo = [part for part in reversed(PurePosixPath(path).parts) if part not in ("/", ".")]
        at: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                del at[-1:]
                continue
            here = "/".join([*at, part])
            if self.kind(here) != "link":
                at.append(part)
                continue
            links += 1
            if links > _LINKS_AT_MOST:
                raise InvalidInput(f'too many links on the way to "/{path}"')
            leads_to = PurePosixPath(self.members[here].target)
            if leads_to.is_absolute():
                at = []
            todo += [step for step in reversed(leads_to.parts) if step not in ("/", ".")]
        return "/".join(at)


def make(overlays: list[Path], base: Iterable[Member], target: Path, *, epoch: int) -> Layer:
    """The overlays, in order, as one layer. Raises InvalidInput where a file meets a folder, or links lead nowhere."""
    view = View(base)
    planned: dict[str, _Planned] = {}
    for overlay in overlays:
        _plan(overlay, view, planned, epoch)
    with tarfile.open(target, "w:", format=tarfile.PAX_FORMAT) as made:
        for name in sorted(planned, key=lambda name: (planned[name].info.islnk(), name.split("/"))):
            _add(made, planned[name], epoch)
    return Layer(target)


def _add(made: tarfile.TarFile, one: _Planned, epoch: int) -> None:
    if one.source is None:
        tree.add(made, one.info, None, epoch=epoch)
        return
    try:
        with one.source.open("rb") as content:
            tree.add(made, one.info, content, epoch=epoch)
    except OSError as error:
        raise Unavailable(f'"{one.source}" of an overlay cannot be read') from error


def _plan(overlay: Path, view: View, planned: dict[str, _Planned], epoch: int) -> None:
    top = overlay.stat()
    names: dict[int, str] = {}
    for inside, path, status in walk(overlay):
        folder, _, base = inside.rpartition("/")
        parent = view.resolve(folder)
        name = f"{parent}/{base}" if parent else base
        if stat.S_ISDIR(status.st_mode):
            if _meets_link(view, inside, name):
                continue
        elif view.kind(name) == "folder":
            raise InvalidInput(f'overlay file "{path}" would replace the folder "/{name}"')
        _ancestors(view, planned, parent)
        info = _info(name, path, status, top, epoch)
        first = names.setdefault(status.st_ino, name) if info.isreg() and status.st_nlink > 1 else name
        if first != name:
            info.type, info.linkname, info.size = tarfile.LNKTYPE, f"./{first}", 0
        planned[name] = _Planned(info, path if info.isreg() else None)
        view.members[name] = tree.member_of(info)


def _meets_link(view: View, inside: str, name: str) -> bool:
    """Whether the tree has a link to a folder where an overlay has a folder; raises InvalidInput for other things."""
    kind = view.kind(name)
    if kind == "link":
        if view.kind(view.resolve(name)) != "folder":
            raise InvalidInput(f'overlay folder "/{inside}" meets a link to no folder')
        return True
    if kind not in ("", "folder"):
        raise InvalidInput(f'overlay folder "/{inside}" would replace a file')
    return False


def _ancestors(view: View, planned: dict[str, _Planned], parent: str) -> None:
    """Have the folders above an entry in the layer too, as the tree has them."""
    at = ""
    for part in PurePosixPath(parent).parts:
        at = f"{at}/{part}" if at else part
        if at in planned:
            continue
        member = view.members.get(at)
        if member is None or member.kind != "folder":
            raise InvalidInput(f'an overlay leads through "/{at}", which is no folder of the tree')
        info = tarfile.TarInfo(f"./{at}")
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, member.mode, member.mtime
        info.uid, info.gid = member.uid, member.gid
        planned[at] = _Planned(info)


def _info(name: str, path: Path, status: os.stat_result, top: os.stat_result, epoch: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"./{name}")
    info.mode, info.mtime = stat.S_IMODE(status.st_mode), epoch
    info.uid, info.gid = _owner(status, top)
    info.pax_headers = dict(_attributes(path))
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
    else:
        info.size = status.st_size
    return info
