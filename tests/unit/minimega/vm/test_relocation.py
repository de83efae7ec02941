"""Images of a file directory are meant in the other host's, the rest stays."""

from pathlib import Path

from megatools.minimega.vm.config import DiskSpec, VmConfig
from megatools.minimega.vm.relocation import image_paths, relocated

_CONFIG = VmConfig(
    kernel="/a/files/k", initrd="/boot/i", disks=(DiskSpec("/a/files/d/x.qcow2", "virtio"), DiskSpec("/a/filesystem"))
)


def test_only_what_is_below_the_directory_moves() -> None:
    moved = relocated(_CONFIG, Path("/a/files"), Path("/b"))
    assert moved.kernel == "/b/k"
    assert moved.initrd == "/boot/i"
    assert moved.cdrom == ""
    assert moved.disks == (DiskSpec("/b/d/x.qcow2", "virtio"), DiskSpec("/a/filesystem"))
    assert relocated(moved, Path("/b"), Path("/a/files")) == _CONFIG


def test_every_path_is_known() -> None:
    assert set(image_paths(_CONFIG)) == {"/a/files/k", "/boot/i", "/a/files/d/x.qcow2", "/a/filesystem"}
    assert image_paths(VmConfig()) == []
