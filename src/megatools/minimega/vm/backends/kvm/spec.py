"""From a plan to a machine for QEMU: pure. Used by `backend`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megatools.hostkit.qemu.cmdline import MachineSpec
from megatools.hostkit.qemu.devices import Disk, GuestPort, Interface
from megatools.minimega.disk.overlays import ReadyDisk
from megatools.minimega.vm.backend import Site
from megatools.minimega.vm.config import DEFAULT_NIC_DRIVER, VmConfig

AGENT_PORT = "org.qemu.guest_agent.0"
AGENT_ID = "cc"
DEFAULT_INTERFACE = "ide"
_NO_TIMER_CHECK = "no_timer_check"


def machine_spec(
    site: Site, *, program: str, accelerator: str, disks: Sequence[ReadyDisk], monitor_fd: int | None
) -> MachineSpec:
    """The machine of a VM; `disks` are the opened files in the order of the configuration."""
    config, plan = site.plan.config, site.plan
    return MachineSpec(
        program=program,
        name=plan.name,
        uuid=plan.uuid,
        accelerator=accelerator,
        directory=site.directory,
        memory_mib=config.memory_mib,
        vcpus=config.vcpus,
        sockets=config.sockets,
        cores=config.cores,
        threads=config.threads,
        cpu=config.cpu,
        machine=config.machine,
        vga=config.vga,
        usb_use_xhci=config.usb_use_xhci,
        kernel=config.kernel,
        initrd=config.initrd,
        append=kernel_line(config, accelerator),
        cdrom=config.cdrom,
        disks=_disks(config, disks),
        nics=tuple(
            Interface(tap, nic.mac, nic.driver or DEFAULT_NIC_DRIVER, site.offload)
            for tap, nic in zip(site.taps, plan.nics, strict=True)
        ),
        serial_paths=tuple(site.directory / f"serial{number}" for number in range(config.serial_ports)),
        ports=_ports(config, site.directory),
        clipboard=config.bidirectional_copy_paste,
        tpm_socket=config.tpm_socket,
        extra=config.qemu_append,
        overrides=config.qemu_override,
        monitor_fd=monitor_fd,
    )


def kernel_line(config: VmConfig, accelerator: str) -> str:
    """The kernel's command line as the user wrote it, after the one word that guests under TCG need.

    Linux checks at boot that the timer ticks in time. On a busy host an emulated one does not, and every second guest
    of a large launch ended in "Kernel panic: IO-APIC + timer doesn't work!"; under KVM, Linux does not check.
    """
    needed = config.kernel and accelerator == "tcg" and _NO_TIMER_CHECK not in config.append
    return append_text((_NO_TIMER_CHECK, *config.append) if needed else config.append)


def append_text(words: Sequence[str]) -> str:
    """The kernel's command line: words joined, those with spaces quoted."""
    return " ".join(f'"{word}"' if " " in word else word for word in words)


def port_names(virtio_ports: str) -> list[str]:
    """The names of virtio ports: those listed, or `virtio-serial0`, ... for a count."""
    if virtio_ports.isdigit():
        return [f"virtio-serial{number}" for number in range(int(virtio_ports))]
    return [name for name in virtio_ports.split(",") if name]


def _ports(config: VmConfig, directory: Path) -> tuple[GuestPort, ...]:
    agent = [GuestPort(AGENT_PORT, directory / AGENT_ID, AGENT_ID)] if config.backchannel else []
    named = enumerate(port_names(config.virtio_ports))
    return (*agent, *(GuestPort(name, directory / f"virtio-serial{number}") for number, name in named))


def _disks(config: VmConfig, ready: Sequence[ReadyDisk]) -> tuple[Disk, ...]:
    cache = "unsafe" if config.snapshot else "writeback"
    return tuple(
        Disk(str(file.path), file.format, spec.interface or DEFAULT_INTERFACE, spec.cache or cache)
        for spec, file in zip(config.disks, ready, strict=True)
    )
