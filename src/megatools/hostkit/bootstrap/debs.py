"""Debian packages as files: what their control file says, and repositories made of them.

Called by the bootstrap drivers. A .deb is an ar archive with a control tar in it (deb(5)).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidInput

_AR_MAGIC = b"!<arch>\n"


def control(path: Path) -> str:
    """The control stanza of a package, without a final newline. Raises InvalidInput when it is none."""
    try:
        name, data = _control_member(path)
        if name.endswith(".zst"):
            return proc.run_sync(["dpkg-deb", "--field", str(path)], timeout_s=60).text.strip()
        plain = (
            lzma.decompress(data) if name.endswith(".xz") else gzip.decompress(data) if name.endswith(".gz") else data
        )
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            stream = archive.extractfile("./control" if "./control" in archive.getnames() else "control")
            return stream.read().decode(errors="replace").strip() if stream else ""
    except (OSError, ValueError, KeyError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise InvalidInput(f'"{path}" is not a Debian package') from error


def _control_member(path: Path) -> tuple[str, bytes]:
    with path.open("rb") as stream:
        if stream.read(8) != _AR_MAGIC:
            raise ValueError("no ar archive")
        while header := stream.read(60):
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            if name.startswith("control.tar"):
                return name, stream.read(size)
            stream.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError("no control member")


def fields(stanza: str) -> dict[str, str]:
    """A stanza's one-line fields, names in lower case."""
    found: dict[str, str] = {}
    for line in stanza.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line[:1].isspace():
            found[name.lower()] = value.strip()
    return found


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_repository(
    folder: Path, packages: Iterable[tuple[Path, str, str]], *, suite: str, architecture: str, component: str = "main"
) -> None:
    """A repository of packages, each with its SHA-256 and (or an empty string) the archive's priority for it.

    To be used as `copy:<folder>`, with suite and component; it is not signed: the hashes must have been checked.
    """
    index = folder / "dists" / suite / component / f"binary-{architecture}"
    index.mkdir(parents=True)
    (folder / "pool").mkdir()
    text = "".join(f"{_stanza(folder, *package)}\n" for package in packages)
    (index / "Packages").write_text(text)
    listed = (
        f" {hashlib.sha256(text.encode()).hexdigest()} {len(text.encode())} {component}/binary-{architecture}/Packages"
    )
    release = [f"Origin: megatools\nSuite: {suite}\nCodename: {suite}\nArchitectures: {architecture} all"]
    release += [f"Components: {component}\nDate: Thu, 01 Jan 1970 00:00:00 UTC\nSHA256:\n{listed}\n"]
    (folder / "dists" / suite / "Release").write_text("\n".join(release))


def _stanza(folder: Path, path: Path, digest: str, priority: str) -> str:
    inside = f"pool/{digest}.deb"
    _lend(path, folder / inside)
    lines = [line for line in control(path).splitlines() if not (priority and line.lower().startswith("priority:"))]
    lines += [f"Priority: {priority}"] if priority else []
    return "\n".join([*lines, f"Filename: {inside}", f"Size: {path.stat().st_size}", f"SHA256: {digest}", ""])


def _lend(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:  # another filesystem, or hard links are not allowed
        shutil.copyfile(source, target)
