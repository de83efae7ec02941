"""Compress an initrd, in the formats the kernel unpacks: CONFIG_RD_*; all on in Debian's kernels, not in everybody's.

Called by the initrd target. The same input gives the same bytes whatever the machine.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter.targets.tools import versions

_SMALL_BYTES = 64 << 20
_LEVELS = {"zstd": (1, 19), "gzip": (1, 9), "xz": (0, 9), "lz4": (1, 12), "none": (0, 0)}
_USUAL = {"zstd": 3, "gzip": 6, "xz": 6, "lz4": 1, "none": 0}
_SMALL_ZSTD = 9
_SMALL_JOBS = "-B8MiB"
"""What each processor gets at once; of itself zstd would leave a small input to one. The bytes depend on this alone."""

_FALLBACK = "gzip"  # what every kernel with an initrd unpacks


class Compressor(msgspec.Struct, frozen=True):
    """A method and a level; level -1 stands for the usual one, which is higher for small inputs.

    One that nobody `named` gives way to another where the kernel cannot unpack it.
    """

    method: str = "zstd"
    level: int = -1
    named: bool = False

    def tools(self) -> list[str]:
        """The versions of the programs that may be used."""
        methods = [self.method] if self.named else [self.method, _FALLBACK]
        return versions(*(method for method in methods if method != "none"))

    def fitting(self, kernel: str, config: str, warnings: list[str]) -> Compressor:
        """The one for a kernel (a version, and the text of its configuration, empty when that is not known)."""
        option = f"CONFIG_RD_{self.method.upper()}"
        if self.method == "none" or not config or f"\n{option}=y\n" in f"\n{config}":
            return self
        told = f'kernel "{kernel}" does not unpack {self.method} ({option} is off)'
        if self.named:
            warnings.append(f"{told}: it will not boot this initrd")
            return self
        warnings.append(f"{told}: {_FALLBACK} is used")
        return Compressor(_FALLBACK)

    def run(self, plain: Path, packed: Path, *, whole_bytes: int) -> None:
        """Compress a file; `whole_bytes` is the size of all that is compressed, which decides the usual level."""
        if self.method == "none":
            plain.rename(packed)
            return
        level = self.level if self.level >= 0 else _USUAL[self.method]
        words = self._words(level)
        if self.method == "zstd" and self.level < 0 and whole_bytes < _SMALL_BYTES:
            words = [*self._words(_SMALL_ZSTD), _SMALL_JOBS]
        argv = [*words, "-c", str(plain)]
        proc.run_sync(["sh", "-c", 'exec "$@" > "$0"', str(packed), *argv], timeout_s=3600)
        plain.unlink()

    def _words(self, level: int) -> list[str]:
        return {
            "zstd": ["zstd", "-q", f"-{level}", "-T0"],
            "gzip": ["gzip", "-n", f"-{level}"],
            "xz": ["xz", f"-{level}", "-T1", "--check=crc32"],
            "lz4": ["lz4", "-q", "-l", f"-{level}"],
        }[self.method]


def parse(text: str) -> Compressor:
    """What `--compress` says: METHOD or METHOD:LEVEL; empty is zstd. Raises InvalidInput."""
    if not text:
        return Compressor()
    method, colon, level = text.partition(":")
    if method not in _LEVELS:
        raise InvalidInput(f'compression "{method}" is unknown', hint=f"one of {', '.join(_LEVELS)}")
    low, high = _LEVELS[method]
    if colon and not (level.isdigit() and low <= int(level) <= high):
        raise InvalidInput(f'compression level "{level}" of {method} is not between {low} and {high}')
    return Compressor(method, int(level) if colon else -1, named=True)
