"""The machines whose command lines are kept in argv/: one file per machine, one word per line."""

from dataclasses import replace
from pathlib import Path

from megatools.hostkit.qemu.cmdline import MachineSpec
from megatools.hostkit.qemu.devices import Disk, GuestPort, Interface

HOME = Path("/base/7")
PLAIN = MachineSpec(
    program="/usr/bin/qemu-system-x86_64",
    name="web1",
    uuid="11111111-2222-3333-4444-555555555555",
    accelerator="tcg",
    directory=HOME,
)
AGENT = GuestPort("org.qemu.guest_agent.0", HOME / "cc", "cc")

MACHINES: dict[str, MachineSpec] = {
    "bench-tcg": replace(
        PLAIN,
        memory_mib=128,
        vga="none",
        ports=(AGENT,),
        nics=(Interface("mega_tap0", "00:15:17:00:00:01", offload=False),),
        monitor_fd=12,
    ),
    "default-kvm": replace(PLAIN, accelerator="kvm", ports=(AGENT,), monitor_fd=12),
    "default-tcg": replace(PLAIN, ports=(AGENT,), monitor_fd=12),
    "kernel-kvm": replace(
        PLAIN,
        accelerator="kvm",
        cpu="Haswell",
        vcpus=4,
        sockets=1,
        cores=2,
        threads=2,
        kernel="/f/tiny.kernel",
        initrd="/f/tiny.initrd",
        append='console=ttyS0 "a b"',
        serial_paths=(HOME / "serial0",),
    ),
    "disks-tcg": replace(
        PLAIN,
        vga="none",
        cdrom="/f/a,b.iso",
        disks=(
            Disk("/base/7/disk-0.qcow2", "qcow2", "ide", "unsafe"),
            Disk("/base/7/disk-1.qcow2", "qcow2", "virtio", "unsafe"),
            Disk("/f/c.raw", "raw", "scsi", "none"),
            Disk("/f/d.raw", "raw", "scsi"),
            Disk("/f/e.raw", "raw", "ahci", "directsync"),
            Disk("/f/g.raw", "raw", "sd"),
            Disk("/f/h.img", "raw", "floppy"),
            Disk("/f/i.fd", "raw", "pflash"),
        ),
    ),
    "q35-overridden-tcg": replace(
        PLAIN,
        machine="q35",
        usb_use_xhci=False,
        clipboard=True,
        tpm_socket="/run/tpm",
        extra=("-boot", "menu=on"),
        overrides=(("-vga std", "-vga qxl"), ("utc", "localtime"), ("-no-user-config", "")),
    ),
}
