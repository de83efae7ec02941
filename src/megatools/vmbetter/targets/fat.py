"""A FAT filesystem inside an image file, made by mtools: no root, no mount.

Called by the disk and ISO targets. Times are SOURCE_DATE_EPOCH's, the serial number is given: the same files give the
same bytes.
"""

from __future__ import annotations

from pathlib import Path

from megatools.hostkit import proc

_SECTOR = 512


def make(image: Path, files: dict[str, Path], *, offset: int, size_bytes: int, serial: int, epoch: int) -> None:
    """Format a part of an image file and copy files into it; paths are like `EFI/BOOT/X.EFI`.

    From 64 MiB on it is FAT32, as UEFI asks of disks.
    """
    place = f"{image}@@{offset}"
    settings = {"SOURCE_DATE_EPOCH": str(epoch), "MTOOLS_SKIP_CHECK": "1", "TZ": "UTC"}
    kind = ["-F", "-c", "1"] if size_bytes >= 64 << 20 else []
    command = ["mformat", "-i", place, "-T", str(size_bytes // _SECTOR), "-h", "255", "-s", "63", *kind]
    proc.run_sync([*command, "-N", f"{serial:08x}", "-v", "BOOT", "::"], timeout_s=120, env=settings)
    made: set[str] = set()
    for path, source in sorted(files.items()):
        parts = path.split("/")[:-1]
        for end in range(1, len(parts) + 1):
            folder = "/".join(parts[:end])
            if folder not in made:
                made.add(folder)
                proc.run_sync(["mmd", "-i", place, f"::{folder}"], timeout_s=60, env=settings)
        proc.run_sync(["mcopy", "-i", place, str(source), f"::{path}"], timeout_s=120, env=settings)
