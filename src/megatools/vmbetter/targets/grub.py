"""GRUB for images: boot programs for BIOS and UEFI, made without installing anything on a device.

Called by the disk and ISO targets. Both programs look for a file of the image, make the filesystem it is on theirs,
and read /grub/grub.cfg there. On BIOS, the first sector (boot.img) names the place of the rest (core.img), whose own
first sector names the place of what follows it: GRUB's manual, "Images".
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidInput, NotFound

PROGRAMS = ("grub-mkimage", "mformat")  # what makes the boot partitions
_FOLDER = Path("/usr/lib/grub")
_SECTOR = 512
_BOOT_CODE_BYTES = 440
_KERNEL_SECTOR_AT = 0x5C  # in boot.img: where core.img begins, 64 bits
_DRIVE_CHECK_AT = 0x66  # in boot.img: a jump, to be made void for hard disks
_NEXT_SECTOR_AT = 0x1F4  # in core.img's first sector: where its second one is, 64 bits
_MODULES = {
    "i386-pc": "biosdisk part_gpt part_msdos fat iso9660 search_fs_file normal configfile linux echo boot test",
    "i386-pc-eltorito": "biosdisk iso9660 search_fs_file normal configfile linux echo boot test",
    "x86_64-efi": "part_gpt part_msdos fat iso9660 search_fs_file normal configfile linux echo boot test efi_gop",
}


def program(platform: str, mark: str, target: Path) -> None:
    """Write GRUB for a platform (`i386-pc`, `i386-pc-eltorito`, `x86_64-efi`); `mark` is the file it looks for.

    Raises NotFound when GRUB's files are absent.
    """
    folder = _FOLDER / platform.removesuffix("-eltorito")
    if not folder.is_dir():
        package = "grub-pc-bin" if platform.startswith("i386-pc") else "grub-efi-amd64-bin"
        raise NotFound(f'"{folder}" is not on this host', hint=f'install the package "{package}"')
    first = target.with_name(target.name + ".first")
    first.write_text(f"search.file {mark} root\nset prefix=($root)/grub\nnormal /grub/grub.cfg\n")
    command = ["grub-mkimage", "-O", platform, "-d", str(folder), "-p", "/grub", "-c", str(first), "-o", str(target)]
    proc.run_sync([*command, *_MODULES[platform].split()], timeout_s=120)
    first.unlink()


def hybrid_start() -> Path:
    """The boot sector that xorriso adapts, for ISO images written to a stick."""
    return _FOLDER / "i386-pc/boot_hybrid.img"


def menu(*, kernel: str, initrd: str, arguments: str) -> str:
    """The text of grub.cfg: one entry, started after a second in which a key may be pressed."""
    words = quoted(arguments)
    return f"set timeout=1\nmenuentry Debian {{\n    linux {kernel} {words}\n    initrd {initrd}\n}}\n"


def quoted(arguments: str) -> str:
    """A kernel command line so that GRUB's script language takes nothing in it for its own; "..." stay one word.

    Raises InvalidInput for what cannot be one: line breaks, a quote without an end.
    """
    if any(ord(character) < ord(" ") or character == "\x7f" for character in arguments):
        raise InvalidInput("words for the kernel must be on one line", hint="see --append")
    if arguments.count('"') % 2:
        raise InvalidInput(f"a quote has no end in the words for the kernel: {arguments}", hint="see --append")
    parts = arguments.split('"')
    for number, part in enumerate(parts):
        special = r"[$\\]" if number % 2 else r"[$\\;&|<>{}'#]"
        parts[number] = re.sub(special, r"\\\g<0>", part)
    return '"'.join(parts)


def embed(core: Path, disk: Path, *, at_sector: int) -> None:
    """Put core.img at a sector of a disk image (of a BIOS boot partition) and what loads it into the first one."""
    code = bytearray((_FOLDER / "i386-pc/boot.img").read_bytes())
    code[_KERNEL_SECTOR_AT : _KERNEL_SECTOR_AT + 8] = struct.pack("<Q", at_sector)
    code[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + 2] = b"\x90\x90"
    rest = bytearray(core.read_bytes())
    rest[_NEXT_SECTOR_AT : _NEXT_SECTOR_AT + 8] = struct.pack("<Q", at_sector + 1)
    with disk.open("r+b") as stream:
        stream.write(code[:_BOOT_CODE_BYTES])
        stream.seek(at_sector * _SECTOR)
        stream.write(rest)
