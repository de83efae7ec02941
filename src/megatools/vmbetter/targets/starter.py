"""The small initrd that disks and live images start with: it loads drivers, finds the root filesystem, and goes there.

Called by the disk and ISO targets. Made of a static busybox (the tree's own, else this host's) and of the kernel's own
modules from the tree; no program of the tree is run. What the kernel's command line may say::

    root=UUID=...   an ext4 filesystem          init=PATH   the first program (else /init, else /sbin/init)
    live=ID         live/ID.squashfs on some medium, made writable in memory
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import re
import tarfile
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import NotFound
from megatools.vmbetter.targets import newc

FORMAT = 1
DISK_MODULES = frozenset(
    "virtio_pci virtio_mmio virtio_blk virtio_scsi sd_mod ahci ata_piix ata_generic nvme xhci_pci ehci_pci uhci_hcd "
    "ohci_pci usb_storage uas mptspi mptsas mpt3sas megaraid_sas hpsa vmw_pvscsi hv_storvsc xen_blkfront mmc_block "
    "sdhci_pci ext4 crc32c_generic crc32c_intel".split()
)
LIVE_NEEDED = frozenset("isofs squashfs loop overlay".split())
LIVE_MODULES = DISK_MODULES | LIVE_NEEDED | {"sr_mod", "cdrom"}

_INIT = r"""#!/bin/busybox sh
# Find the root filesystem and go there; the drivers are those of the devices that are present.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs -o mode=755 dev /dev
uuid='' live='' init=''
for word in $(cat /proc/cmdline); do
    case $word in
    root=UUID=*) uuid=${word#root=UUID=} ;;
    live=*) live=${word#live=} ;;
    init=*) init=${word#init=} ;;
    esac
done
modprobe -a -q crc32c_generic crc32c_intel ext4 isofs squashfs loop overlay sd_mod sr_mod 2> /dev/null

drivers() { find /sys/devices -name modalias -exec cat {} + | sort -u | xargs -r modprobe -a -b -q 2> /dev/null; }

on_disk() {
    device=$(findfs "UUID=$uuid" 2> /dev/null) && mount -t ext4 -o rw "$device" /root
}

on_medium() {
    for device in /sys/class/block/*; do
        mount -t iso9660 -o ro "/dev/${device##*/}" /medium 2> /dev/null || continue
        if [ -f "/medium/live/$live.squashfs" ]; then
            mount -t squashfs -o ro,loop "/medium/live/$live.squashfs" /lower &&
                mount -t tmpfs -o mode=755 cow /cow && mkdir /cow/upper /cow/work &&
                mount -t overlay -o lowerdir=/lower,upperdir=/cow/upper,workdir=/cow/work overlay /root && return 0
        fi
        umount /medium 2> /dev/null
    done
    return 1
}

tries=600
while [ "$tries" -gt 0 ]; do
    drivers
    if [ -n "$live" ]; then on_medium && break; else on_disk && break; fi
    tries=$((tries - 1))
    usleep 100000
done
if [ "$tries" = 0 ]; then
    echo "megatools: no root filesystem ${uuid:-$live} appeared; this is a shell to look around"
    exec sh < /dev/console > /dev/console 2>&1
fi
if [ -z "$init" ]; then
    init=/sbin/init
    if [ -e /root/init ] || [ -L /root/init ]; then init=/init; fi
fi
mkdir -p /root/dev
mount -o move /dev /root/dev
umount /proc /sys
exec switch_root -c /dev/console /root "$init"
"""


def make(archive: tarfile.TarFile, version: str, target: Path, *, wanted: frozenset[str], epoch: int) -> None:
    """Write the initrd for a kernel version of the tree, compressed. Raises NotFound without a static busybox."""
    content = _Content(epoch)
    for folder in "bin dev proc sys root medium lower cow".split():
        content.folder(folder)
    content.file("init", _INIT.encode(), 0o755)
    content.file("bin/busybox", _busybox(archive), 0o755)
    content.node("dev/console", (5, 1))
    for name, data in _modules(archive, version, wanted).items():
        content.file(name, data, 0o644)
    plain = target.with_suffix(".cpio")
    with content.archive() as made, plain.open("wb") as stream:
        newc.write(made, stream, epoch=epoch, keep=lambda name: True)
    proc.run_sync(["zstd", "-q", "-f", "-19", "-T0", str(plain), "-o", str(target)], timeout_s=600)
    plain.unlink()


def lacking(archive: tarfile.TarFile, version: str, needed: frozenset[str]) -> frozenset[str]:
    """Which of these modules the tree's kernel has neither built in nor beside it."""
    names = {newc.name_of(member): member for member in archive.getmembers()}
    folder = _folder(names, version)
    built_in = _text(archive, names.get(f"{folder}/modules.builtin")).splitlines()
    there = {_module(line) for line in built_in} | {_module(line) for line in _dependencies(archive, names, folder)}
    return frozenset(needed - there)


class _Content:
    """Files of the initrd, in the making: a tar in memory."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._made: set[str] = set()
        self._bytes = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._bytes, mode="w")

    def folder(self, name: str) -> None:
        """A folder, with those above it."""
        parts = name.split("/")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            if path not in self._made:
                self._made.add(path)
                self._add(path, tarfile.DIRTYPE, 0o755)

    def file(self, name: str, data: bytes, mode: int) -> None:
        """A file with this content."""
        if "/" in name:
            self.folder(name.rpartition("/")[0])
        self._add(name, tarfile.REGTYPE, mode, data)

    def node(self, name: str, device: tuple[int, int]) -> None:
        """A character device."""
        self._add(name, tarfile.CHRTYPE, 0o600, device=device)

    def _add(self, name: str, kind: bytes, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.mtime, member.size = kind, mode, self._epoch, len(data)
        member.devmajor, member.devminor = device
        self._tar.addfile(member, io.BytesIO(data))

    def archive(self) -> tarfile.TarFile:
        """All of it, to be read."""
        self._tar.close()
        self._bytes.seek(0)
        return tarfile.open(fileobj=self._bytes, mode="r:")


def _busybox(archive: tarfile.TarFile) -> bytes:
    for member in archive.getmembers():
        if newc.name_of(member) in ("bin/busybox", "usr/bin/busybox") and member.isreg():
            data = _data(archive, member)
            if _is_static(data):
                return data
    path = proc.which("busybox")
    data = path.read_bytes() if path else b""
    if not _is_static(data):
        raise NotFound("no static busybox on this host", hint='install the package "busybox-static"')
    return data


def ingredients() -> list[str]:
    """What of this host may go into a starter, for keys: its format and the busybox."""
    path = proc.which("busybox")
    return [str(FORMAT), hashlib.sha256(path.read_bytes()).hexdigest() if path else ""]


def _is_static(data: bytes) -> bool:
    return data.startswith(b"\x7fELF") and b"/ld-linux" not in data and b"/lib/ld-musl" not in data


def _module(path: str) -> str:
    """A module's name from its file's path: without folder, `.ko` and compression; dashes are underscores."""
    return re.sub(r"\.ko(\.\w+)?$", "", path.rsplit("/", 1)[-1]).replace("-", "_")


def _folder(names: dict[str, tarfile.TarInfo], version: str) -> str:
    usual = f"usr/lib/modules/{version}"
    return usual if usual in names else f"lib/modules/{version}"


def _dependencies(archive: tarfile.TarFile, names: dict[str, tarfile.TarInfo], folder: str) -> dict[str, list[str]]:
    """Each module's file with those it needs, paths below the folder, as modules.dep has them."""
    found: dict[str, list[str]] = {}
    for line in _text(archive, names.get(f"{folder}/modules.dep")).splitlines():
        path, _, needed = line.partition(":")
        found[path] = needed.split()
    return found


def _modules(archive: tarfile.TarFile, version: str, wanted: frozenset[str]) -> dict[str, bytes]:
    """The modules wanted that exist, with those they need and an index of them, by path in the initrd."""
    names = {newc.name_of(member): member for member in archive.getmembers()}
    folder = _folder(names, version)
    needs = _dependencies(archive, names, folder)
    chosen = {path for path in needs if _module(path) in wanted}
    chosen |= {path for first in chosen for path in needs[first]}
    target = f"lib/modules/{version}"
    made: dict[str, bytes] = {}
    index: list[str] = []
    for path in sorted(chosen):
        if f"{folder}/{path}" in names:
            made[f"{target}/{_plain(path)}"] = _decompressed(_data(archive, names[f"{folder}/{path}"]), path)
            index.append(f"{_plain(path)}:" + "".join(f" {_plain(needed)}" for needed in needs[path]))
    modules = {_module(path) for path in chosen}
    aliases = _text(archive, names.get(f"{folder}/modules.alias")).splitlines()
    kept = [line for line in aliases if line.rpartition(" ")[2].replace("-", "_") in modules]
    made[f"{target}/modules.dep"] = ("\n".join(index) + "\n").encode()
    made[f"{target}/modules.alias"] = ("\n".join(kept) + "\n").encode()
    return made


def _plain(path: str) -> str:
    return re.sub(r"\.ko\.\w+$", ".ko", path)


def _decompressed(data: bytes, path: str) -> bytes:
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if path.endswith(".gz"):
        return gzip.decompress(data)
    if path.endswith(".zst"):
        return proc.run_sync(["zstd", "-q", "-d", "-c"], timeout_s=60, stdin=data).stdout
    return data


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> str:
    return _data(archive, member).decode(errors="replace") if member is not None else ""


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream is not None else b""
