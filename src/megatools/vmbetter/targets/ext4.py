"""An ext4 filesystem from a tree's tar, without root, mounts or loop devices.

Called by the disk target. e2fsprogs does the work: mke2fs makes an empty filesystem, debugfs fills it from a script
that names every owner, mode and time, so that the same tar gives the same bytes whoever builds. What a file's path
says is never followed on this host: contents go through numbered files. Debugfs can write files of this host, so
nothing of a tree may become a command of its own in the script: each line is checked as a whole.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import CommandFailed, InvalidInput, Unavailable
from megatools.vmbetter.targets.newc import name_of, type_bits

# Features that GRUB 2.06 and older kernels do not know are left out
_FEATURES = "^metadata_csum_seed,^orphan_file,^resize_inode"
_XATTR = "SCHILY.xattr."
_BLOCK = 4096
_INODE_BYTES = 256
_SLACK_BYTES = 64 << 20
_LINE_BYTES = 8000  # debugfs reads pieces of 8192 bytes, and takes the next piece for another command
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9._-]+")


def needed_bytes(members: list[tarfile.TarInfo]) -> int:
    """About how large a filesystem for these members must be."""
    data = sum(-(-member.size // _BLOCK) * _BLOCK for member in members if member.isreg())
    folders = sum(1 for member in members if not member.isreg()) * _BLOCK
    return int((data + folders + len(members) * _INODE_BYTES) * 1.05) + _SLACK_BYTES


def identity(members: list[tarfile.TarInfo], part: str) -> uuid.UUID:
    """A name for a filesystem or partition that depends on the members (not on their contents) and on `part`."""
    rows = sorted(f"{name_of(member)} {member.mode} {member.size} {member.mtime}" for member in members)
    digest = hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{digest} {part}")


def make(
    archive: tarfile.TarFile,
    members: list[tarfile.TarInfo],
    image: Path,
    workspace: Path,
    *,
    size_bytes: int,
    name: uuid.UUID,
    epoch: int,
) -> None:
    """Write the members into a new filesystem image. Raises InvalidInput when they do not fit or have odd names."""
    inodes = max(len(members) * 2, size_bytes // 16384)
    extended = f"hash_seed={name},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(_BLOCK), "-I", str(_INODE_BYTES), "-N", str(inodes)]
    command += ["-m", "1", "-O", _FEATURES, "-U", str(name), "-L", "root", "-E", extended]
    now = {"E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch)}
    proc.run_sync([*command, str(image), f"{size_bytes // 1024}k"], timeout_s=300, env=now)
    contents = Contents(archive, workspace / "contents")
    script = workspace / "debugfs.script"
    with script.open("w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.writelines(line + "\n" for line in commands(members, contents, epoch=epoch))
    done = proc.run_sync(["debugfs", "-w", "-f", str(script), str(image)], timeout_s=3600, env=now, check=False)
    _judge(done, size_bytes)
    checked = proc.run_sync(["e2fsck", "-f", "-n", str(image)], timeout_s=600, env=now, check=False)
    if checked.status != 0:
        raise CommandFailed(f"the filesystem made is damaged: {proc.failure_text(checked)}")


class Contents:
    """Numbered files that hold what debugfs is to read; never named by a path in the tree."""

    def __init__(self, archive: tarfile.TarFile, folder: Path) -> None:
        self._archive = archive
        self._folder = folder
        self._number = 0
        folder.mkdir()

    def hold(self, what: tarfile.TarInfo | bytes) -> str:
        """The path of a new file with a member's content, or these bytes."""
        self._number += 1
        path = self._folder / str(self._number)
        if isinstance(what, bytes):
            path.write_bytes(what)
            return str(path)
        stream = self._archive.extractfile(what)
        assert stream is not None
        with path.open("wb") as target:
            shutil.copyfileobj(stream, target, 1 << 20)
        return str(path)


def commands(members: list[tarfile.TarInfo], contents: Contents, *, epoch: int) -> Iterator[str]:
    """Debugfs's commands that make the members, sorted by name; times are at most `epoch`. Raises InvalidInput."""
    for line in _commands(members, contents, epoch):
        if "\n" in line or len(line.encode("utf-8", "surrogateescape")) > _LINE_BYTES:
            raise InvalidInput(f"what is said in {line[:200]!r} cannot be put into a disk image")
        yield line


def _commands(members: list[tarfile.TarInfo], contents: Contents, epoch: int) -> Iterator[str]:
    by_name = {name_of(member): member for member in members}
    yield from _inode(".", by_name.pop("."), epoch) if "." in by_name else ()
    at = ""
    for name in sorted(by_name, key=lambda name: name.split("/")):
        member = by_name[name]
        if member.islnk():
            continue
        folder, _, base = name.rpartition("/")
        if folder != at:
            at = folder
            yield f"cd {_quoted('/' + folder)}"
        quoted = _quoted(base)
        yield f"write {_quoted(contents.hold(member))} {quoted}" if member.isreg() else _creation(member, quoted)
        yield from _inode(quoted, member, epoch)
        yield from _attributes(name, quoted, member, contents)
    links = _link_counts(by_name)
    for name in sorted(name for name, member in by_name.items() if member.islnk()):
        yield f"ln {_quoted('/' + name_of_link(by_name[name]))} {_quoted('/' + name)}"
    for first, count in sorted(links.items()):
        yield f"sif {_quoted('/' + first)} links_count {count}"


def _attributes(name: str, quoted: str, member: tarfile.TarInfo, contents: Contents) -> Iterator[str]:
    for key, value in member.pax_headers.items():
        if not key.startswith(_XATTR):
            continue
        attribute = key.removeprefix(_XATTR)
        if not _ATTRIBUTE_NAME.fullmatch(attribute):
            raise InvalidInput(f'the extended attribute {attribute!r} of "/{name}" cannot be put into a disk image')
        yield f"ea_set -f {_quoted(contents.hold(value.encode('utf-8', 'surrogateescape')))} {quoted} {attribute}"


def name_of_link(member: tarfile.TarInfo) -> str:
    """The name in the tar of the file a hard link is another name for."""
    return member.linkname.removeprefix("./").strip("/")


def _link_counts(by_name: dict[str, tarfile.TarInfo]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for member in by_name.values():
        if member.islnk():
            first = name_of_link(member)
            counts[first] = counts.get(first, 1) + 1
    return counts


def _creation(member: tarfile.TarInfo, quoted: str) -> str:
    if member.isdir():
        return f"mkdir {quoted}"
    if member.issym():
        return f"symlink {quoted} {_quoted(member.linkname)}"
    if member.isfifo():
        return f"mknod {quoted} p"
    return f"mknod {quoted} {'c' if member.ischr() else 'b'} {member.devmajor} {member.devminor}"


def _inode(name: str, member: tarfile.TarInfo, epoch: int) -> Iterator[str]:
    if not member.issym():
        yield f"sif {name} mode 0{stat.S_IMODE(member.mode) | type_bits(member):o}"
    if member.uid:
        yield f"sif {name} uid {member.uid}"
    if member.gid:
        yield f"sif {name} gid {member.gid}"
    if int(member.mtime) < epoch:
        yield f"sif {name} mtime @{max(0, int(member.mtime))}"


def _quoted(word: str) -> str:
    if "\n" in word or len(word) > 3000:
        raise InvalidInput(f"the file name {word!r} cannot be put into a disk image")
    return '"' + word.replace('"', '""') + '"'


def _judge(done: proc.Completed, size_bytes: int) -> None:
    """Debugfs ends with status 0 whatever happened: what it printed on standard error says more."""
    lines = done.stderr.decode(errors="replace").splitlines()
    told = [line for line in lines if line and not line.startswith("debugfs ")]
    if any("Could not allocate" in line or "No space" in line or "No free" in line for line in told):
        raise InvalidInput(f"the tree does not fit into a filesystem of {size_bytes >> 20} MiB", hint="raise --size")
    if done.status != 0 or told:
        raise Unavailable(f"debugfs could not fill the filesystem: {'; '.join(told[-4:]) or done.status}")
