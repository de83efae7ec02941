"""The tiny image boots in a real QEMU: leases with each NIC driver, the agent answers, the screen takes keys."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.guest import Guest, booted
from tests.support.images import tiny_image
from tests.support.requires import requires

pytestmark = [requires("qemu-system-x86_64", "mmdebstrap", "zstd"), pytest.mark.root, pytest.mark.timeout(900)]


def tiny(directory: Path, *arguments: str, memory_mib: int = 256) -> AbstractContextManager[Guest]:
    """The tiny image in a QEMU with these words."""
    kernel, initrd = tiny_image()
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", str(memory_mib), "-no-reboot", "-nodefaults", "-vga", "std"]
    argv += ["-kernel", str(kernel), "-initrd", str(initrd), "-display", "none", *arguments]
    return booted(argv, directory)


def test_both_nic_drivers_get_leases_and_the_agent_answers(tmp_path: Path) -> None:
    nics = ("-nic", "user,model=e1000", "-nic", "user,model=virtio-net-pci,net=10.7.7.0/24")
    with tiny(tmp_path, *nics, "-append", "console=ttyS0 hostname=lamb") as guest:
        for text in ("ready", "lease 10.0.2.15 on eth", "lease 10.7.7.15 on eth"):  # in any order
            guest.see(f"megatools: {text}")
        guest.ask("qga", "guest-ping")
        assert guest.ask("qga", "guest-get-host-name") == {"host-name": "lamb"}


def test_boots_in_128_mib_without_a_network_or_a_command_line_and_takes_keys(tmp_path: Path) -> None:
    with tiny(tmp_path, memory_mib=128) as guest:
        guest.ask("qmp", "qmp_capabilities")
        guest.wait_for("megatools: ready")
        guest.wait_for("# ")
        # typed on the emulated keyboard, so into the shell on the screen, which tells the serial line
        names = {" ": "spc", ">": "dot", "/": "slash", "-": "minus", "\n": "ret"}
        for character in "tty >/dev/tty-\n".replace("tty-", "ttyS0"):
            key = names.get(character, character.lower())
            keys = [{"type": "qcode", "data": key}]
            if character == ">" or character.isupper():
                keys.insert(0, {"type": "qcode", "data": "shift"})
            guest.ask("qmp", "send-key", keys=keys, **{"hold-time": 30})
        guest.wait_for("/dev/tty1", 30)


def test_a_nic_plugged_in_later_gets_a_lease(tmp_path: Path) -> None:
    with tiny(tmp_path, "-append", "console=ttyS0") as guest:
        guest.ask("qmp", "qmp_capabilities")
        guest.wait_for("megatools: ready")
        guest.ask("qmp", "netdev_add", type="user", id="late")
        guest.ask("qmp", "device_add", driver="virtio-net-pci", netdev="late", id="nic")
        guest.wait_for("megatools: lease 10.0.2.15 on eth0")
