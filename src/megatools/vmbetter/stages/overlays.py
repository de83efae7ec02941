"""Second stage: files of the overlays, copied over the tree.

Called by the builder. Modes, times, links and extended attributes are kept. Owners too, except that files which
belong to whoever owns the overlay's top folder (a checkout's user) belong to root in the image. Folders of the tree
that are links (usr-merge: /bin is usr/bin) are followed, never out of the tree.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter.cache import digest_of

_LINKS_AT_MOST = 40


def walk(overlay: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Every entry below an overlay: its path inside, on the host, and what it is; sorted, folders first.

    Raises InvalidInput for a device node, a socket or a pipe.
    """
    for folder, folders, names in os.walk(overlay):
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
            content = digest_of(path)
        elif stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        rows.append([inside, status.st_mode, *_owner(status, top), content])
    return rows


def _owner(status: os.stat_result, top: os.stat_result) -> tuple[int, int]:
    uid = 0 if status.st_uid == top.st_uid else status.st_uid
    gid = 0 if status.st_gid == top.st_gid else status.st_gid
    return uid, gid


def apply(overlay: Path, tree: Path) -> None:
    """Copy an overlay over a tree. Raises InvalidInput where a file meets a folder, or links lead nowhere."""
    top = overlay.stat()
    for inside, path, status in walk(overlay):
        target = inside_tree(tree, str(Path(inside).parent)) / Path(inside).name
        if stat.S_ISDIR(status.st_mode):
            _folder(inside, target, tree)
            if target.is_symlink():
                continue
        else:
            if target.is_dir() and not target.is_symlink():
                raise InvalidInput(f'overlay file "{path}" would replace the folder "/{inside}"')
            target.unlink(missing_ok=True)
            shutil.copy2(path, target, follow_symlinks=False)
        os.chown(target, *_owner(status, top), follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            target.chmod(stat.S_IMODE(status.st_mode))  # after chown, which clears setuid


def _folder(inside: str, target: Path, tree: Path) -> None:
    if target.is_symlink():
        if not inside_tree(tree, inside).is_dir():
            raise InvalidInput(f'overlay folder "/{inside}" meets a link to no folder')
    elif target.exists() and not target.is_dir():
        raise InvalidInput(f'overlay folder "/{inside}" would replace a file')
    else:
        target.mkdir(exist_ok=True)


def inside_tree(tree: Path, path: str) -> Path:
    """Where a path leads when the tree is the root: links are followed, `..` stops at the top."""
    todo = [part for part in reversed(Path(path).parts) if part not in ("/", ".")]
    at: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del at[-1:]
            continue
        here = tree.joinpath(*at, part)
        if not here.is_symlink():
            at.append(part)
            continue
        links += 1
        if links > _LINKS_AT_MOST:
            raise InvalidInput(f'too many links on the way to "/{path}"')
        leads_to = here.readlink()
        if leads_to.is_absolute():
            at = []
        todo += [step for step in reversed(leads_to.parts) if step != "/"]
    return tree.joinpath(*at)
