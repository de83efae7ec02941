"""Arguments that name files elsewhere: `file:`, `http:`, `https:` and `tar:` become paths on this host.

The interpreter calls a `Fetcher`; this one serves the local host, the cluster brings one that asks other hosts.
Source: spec B.4.
"""

from __future__ import annotations

import asyncio
import shutil
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Protocol

from megatools.hostkit.errors import InvalidInput, NotFound, Unavailable

SCHEMES = ("file", "http", "https", "tar")
MAX_DOWNLOAD_BYTES = 64 << 30
TIMEOUT_S = 30.0
_CHUNK = 1 << 20


class Fetcher(Protocol):
    """Makes a file named by a URL available on this host."""

    async def fetch(self, url: str) -> str:
        """The absolute path of the file; blocks until it is complete. Raises `NotFound`, `Unavailable`."""
        ...


def is_url(text: str) -> bool:
    """Whether an argument names a file elsewhere."""
    scheme, separator, rest = text.partition(":")
    if not separator or scheme not in SCHEMES:
        return False
    return rest.startswith("//") if scheme.startswith("http") else bool(rest)


class LocalFetcher:
    """Files of this host's file directory, downloads into it, and tarballs unpacked beside themselves."""

    def __init__(self, files: Path, *, max_bytes: int = MAX_DOWNLOAD_BYTES) -> None:
        self._files = files
        self._max_bytes = max_bytes

    async def fetch(self, url: str) -> str:
        """The absolute path of the file; raises `NotFound`, `InvalidInput`, `Unavailable`."""
        scheme, _, rest = url.partition(":")
        match scheme:
            case "file":
                return str(self._existing(rest))
            case "tar":
                return await asyncio.to_thread(_unpacked, self._inside(rest) if rest[:1] != "/" else Path(rest))
            case _:
                return await asyncio.to_thread(self._download, url)

    def _inside(self, name: str) -> Path:
        parts = PurePosixPath(name.lstrip("/")).parts
        if ".." in parts:
            raise InvalidInput(f"file '{name}' is outside of the file directory '{self._files}'")
        return self._files.joinpath(*parts)

    def _existing(self, name: str) -> Path:
        path = self._inside(name)
        if not path.exists():
            raise NotFound(f"file '{name}' is not in the file directory", hint=f"put it in {self._files}")
        return path.resolve()

    def _download(self, url: str) -> str:
        try:
            name = urllib.parse.unquote(urllib.parse.urlsplit(url).path)
        except ValueError as error:
            raise InvalidInput(f"invalid URL '{url}'") from error
        target = self._inside(name)
        if target.is_file():
            return str(target.resolve())
        if target == self._files or target.is_dir():
            raise NotFound(f"get {name or '/'}: file not found")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as source, partial.open("wb") as sink:
                self._copy(source, sink, url)
            partial.replace(target)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise NotFound(f"get {name}: file not found") from error
            raise Unavailable(f"get '{url}'") from error
        except OSError as error:
            raise Unavailable(f"get '{url}'") from error
        finally:
            partial.unlink(missing_ok=True)
        return str(target.resolve())

    def _copy(self, source: IO[bytes], sink: IO[bytes], url: str) -> None:
        done = 0
        while chunk := source.read(_CHUNK):
            done += len(chunk)
            if done > self._max_bytes:
                raise Unavailable(f"download '{url}' is larger than the limit of {self._max_bytes} bytes")
            sink.write(chunk)


def _unpacked(archive: Path) -> str:
    """The single top-level directory of a tarball, unpacked beside it unless it is there already."""
    if not archive.is_file():
        raise NotFound(f"tarball '{archive}' does not exist")
    try:
        with tarfile.open(archive) as tar:
            names = [PurePosixPath(member.name) for member in tar]
            target = archive.parent / _top(names, archive)
            if not target.is_dir():
                with TemporaryDirectory(dir=archive.parent, prefix=".untar-") as staging:
                    if hasattr(tarfile, "tar_filter"):  # Python before 3.11.4 has no filters; names were checked above
                        tar.extraction_filter = tarfile.tar_filter
                    tar.extractall(staging)
                    shutil.move(str(Path(staging, target.name)), target)
    except (tarfile.TarError, OSError) as error:
        raise Unavailable(f"unpack '{archive}'") from error
    return str(target.resolve())


def _top(names: list[PurePosixPath], archive: Path) -> str:
    tops = {path.parts[0] for path in names if path.parts}
    if any(path.is_absolute() or ".." in path.parts for path in names):
        raise InvalidInput(f"tarball '{archive}' holds paths outside of itself")
    if len(tops) != 1 or all(len(path.parts) < 2 for path in names):
        raise InvalidInput("unable to handle tar without a single top-level directory")
    return tops.pop()
