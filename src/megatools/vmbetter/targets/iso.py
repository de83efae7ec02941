"""Target: a live ISO image for CD drives and sticks, BIOS and UEFI, made without root.

Called by the builder. The tree is a squashfs that the starter makes writable in memory. A tree whose kernel lacks the
drivers for that (isofs, squashfs, loop, overlay) goes whole into memory instead, as an initrd.
"""

from __future__ import annotations

import os
import tarfile
import time
import uuid
from pathlib import Path
from typing import ClassVar

import msgspec

from megatools.hostkit import proc
from megatools.vmbetter.targets import ext4, fat, grub, initrd, newc, starter, tools
from megatools.vmbetter.targets.delivery import Delivery
from megatools.vmbetter.targets.rootfs import filtered, unpacked_bytes
from megatools.vmbetter.targets.target import Made, Tree, deliver_files

FORMAT = 7
ARGUMENTS = "console=tty0 console=ttyS0,115200 net.ifnames=0"
_MIB = 1 << 20


class IsoTarget(msgspec.Struct, frozen=True):
    """A live ISO image; `append` goes to the kernel's command line."""

    append: str = ""
    name: ClassVar[str] = "iso"

    def tools(self) -> list[str]:
        """The versions of the programs that make it."""
        return tools.versions("mksquashfs", "xorriso", "zstd", "gzip", *grub.PROGRAMS)

    def identity(self) -> object:
        """The format, the option, the programs that make it and the busybox that may go into it."""
        return [FORMAT, self.append, *starter.ingredients(), *self.tools()]

    def make(self, tree: Tree, workspace: Path, *, epoch: int) -> Made:
        """The image. Raises InvalidInput when the tree has no kernel."""
        return make(tree.tar(), workspace, append=self.append, epoch=epoch)

    def deliver(self, files: dict[str, Path], delivery: Delivery, name: str) -> dict[str, Path]:
        """NAME.iso."""
        return deliver_files(files, delivery, name)


def make(tree: Path, workspace: Path, *, append: str, epoch: int) -> Made:
    """An ISO image from a tree's tar (not compressed). Raises InvalidInput when the tree has no kernel."""
    folder, boot = workspace / "iso", workspace / "iso/boot"
    warnings: list[str] = []
    for path in (boot, folder / "live", folder / "grub"):
        path.mkdir(parents=True)
    with tarfile.open(tree, "r:") as archive:
        names = {newc.name_of(member): member for member in archive.getmembers()}
        unpacked = unpacked_bytes([member for name, member in names.items() if initrd.belongs(name)])
        name = str(ext4.identity(list(names.values()), "live"))
        version = initrd.newest_kernel([name for name, member in names.items() if member.isreg()], warnings)
        lacking = starter.lacking(archive, version, starter.LIVE_NEEDED)
        if not lacking:
            content = archive.extractfile(names[f"boot/vmlinuz-{version}"])
            assert content is not None
            (boot / "vmlinuz").write_bytes(content.read())
            starter.make(archive, version, boot / "initrd.img", wanted=starter.LIVE_MODULES, epoch=epoch)
    notes = {"kernel": version, "live": "no" if lacking else "yes"}
    if lacking:
        packed = initrd.make(tree, workspace, epoch=epoch)
        packed.files["kernel"].rename(boot / "vmlinuz")
        packed.files["initrd"].rename(boot / "initrd.img")
        notes["memory"] = packed.notes["memory"]
        warnings += [text for text in packed.warnings if text not in warnings]
        warnings.append(f"the kernel lacks {', '.join(sorted(lacking))}: the ISO needs {notes['memory']} MiB of memory")
    else:
        _squash(tree, folder / f"live/{name}.squashfs", workspace, epoch=epoch)
    mark = f"/live/{name}.id"
    (folder / mark[1:]).write_text("")
    arguments = f"{'' if lacking else f'live={name} '}{ARGUMENTS} {append}".rstrip()
    menu = grub.menu(kernel="/boot/vmlinuz", initrd="/boot/initrd.img", arguments=arguments)
    (folder / "grub/grub.cfg").write_text(menu)
    _programs(folder, workspace, mark, serial=uuid.UUID(name).fields[0], epoch=epoch)
    image = _image(folder, workspace / "image.iso", uuid.UUID(name), epoch)
    return Made({"iso": image}, unpacked, tuple(warnings), notes)


def _squash(tree: Path, target: Path, workspace: Path, *, epoch: int) -> None:
    plain = workspace / "live.tar"
    filtered(tree, plain, epoch=epoch, keep=initrd.belongs)
    words = ["-tar", "-quiet", "-no-progress", "-root-mode", "755", "-comp", "zstd", "-Xcompression-level", "6"]
    command = ["sh", "-c", 'input=$1; shift; exec mksquashfs - "$@" < "$input"', "sh", str(plain), str(target), *words]
    if os.geteuid() != 0:  # a tar's top folder belongs to whoever packs it, and mksquashfs has no say in it
        command = ["unshare", "--map-root-user", *command]
    proc.run_sync(command, timeout_s=3600, env={"SOURCE_DATE_EPOCH": str(epoch)})
    plain.unlink()


def _programs(folder: Path, workspace: Path, mark: str, *, serial: int, epoch: int) -> None:
    grub.program("i386-pc-eltorito", mark, folder / "boot/bios.img")
    grub.program("x86_64-efi", mark, workspace / "efi")
    files = {"EFI/BOOT/BOOTX64.EFI": workspace / "efi"}
    system = workspace / "efi.img"
    size = -(-(workspace / "efi").stat().st_size // _MIB) * _MIB + _MIB
    with system.open("wb") as stream:
        stream.truncate(size)
    fat.make(system, files, offset=0, size_bytes=size, serial=serial, epoch=epoch)
    system.rename(folder / "boot/efi.img")


def _image(folder: Path, target: Path, identity: uuid.UUID, epoch: int) -> Path:
    date = time.strftime("%Y%m%d%H%M%S00", time.gmtime(epoch))
    command = ["xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", "MEGATOOLS", f"--modification-date={date}"]
    command += ["--protective-msdos-label", "--gpt_disk_guid", identity.hex, "--grub2-mbr", str(grub.hybrid_start())]
    command += ["-b", "boot/bios.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info"]
    command += ["--efi-boot", "boot/efi.img", "-efi-boot-part", "--efi-boot-image"]
    for path in (folder, *folder.rglob("*")):  # xorriso takes the other dates from this one
        os.utime(path, (epoch, epoch))
    settings = {"SOURCE_DATE_EPOCH": str(epoch)}
    proc.run_sync([*command, "-o", str(target), str(folder)], timeout_s=1800, env=settings)
    return target
