"""What QEMU says about itself, and which accelerator is chosen."""

import pytest

from megatools.hostkit.errors import InvalidInput, ProtocolError
from megatools.hostkit.qemu import probe

DEVICES = """Controller/Bridge/Hub devices:
name "pci-bridge", bus PCI

Network devices:
name "e1000", bus PCI, alias "e1000-82540em", desc "Intel Gigabit Ethernet"
name "virtio-net-pci", bus PCI, alias "virtio-net"

Input devices:
name "usb-tablet", bus usb-bus
"""
CPUS = """Available CPUs:
x86 486                   (alias configured by machine type)
x86 Broadwell-IBRS        (alias of Broadwell-v3)
x86 max                   Enables all features

Recognized CPUID flags:
  3dnow 3dnowext
"""


def test_help_is_read() -> None:
    assert probe.parse_version("QEMU emulator version 7.2.22 (Debian 1:7.2)") == "7.2.22"
    assert probe.parse_nic_drivers(DEVICES) == {"e1000", "e1000-82540em", "virtio-net-pci", "virtio-net"}
    assert probe.parse_cpus(CPUS) == {"486", "Broadwell-IBRS", "max"}
    assert probe.parse_machines("Supported machines are:\npc  Standard PC\nq35  x\n") == {"pc", "q35"}
    with pytest.raises(ProtocolError):
        probe.parse_version("nonsense")


@pytest.mark.parametrize(
    ("setting", "opens", "flags", "machine", "chosen"),
    [
        ("auto", True, ["vmx"], "x86_64", "kvm"),
        ("auto", True, ["svm"], "x86_64", "kvm"),
        ("auto", True, ["hypervisor"], "x86_64", "tcg"),
        ("auto", False, ["vmx"], "x86_64", "tcg"),
        ("auto", True, [], "aarch64", "kvm"),
        ("auto", False, [], "aarch64", "tcg"),
        ("tcg", True, ["vmx"], "x86_64", "tcg"),
        ("kvm", False, [], "x86_64", "kvm"),
    ],
)
def test_kvm_needs_the_device_and_the_cpu_flag(
    setting: str, opens: bool, flags: list[str], machine: str, chosen: str
) -> None:
    found = probe.choose_accelerator(setting, kvm_opens=opens, cpu_flags=flags, machine=machine)
    assert found.name == chosen and found.reason


def test_unknown_accelerators_are_refused() -> None:
    with pytest.raises(InvalidInput, match='invalid accelerator "xen"'):
        probe.choose_accelerator("xen", kvm_opens=True, cpu_flags=[], machine="x86_64")
