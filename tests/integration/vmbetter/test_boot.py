"""The tiny image boots in a real QEMU: leases with each NIC driver, the agent answers, the screen takes keys."""

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.hostkit import proc
from tests.support.images import tiny_image
from tests.support.requires import requires

pytestmark = [requires("qemu-system-x86_64", "mmdebstrap", "zstd"), pytest.mark.root, pytest.mark.timeout(900)]

BOOT_S = 120.0


class Guest:
    """A running QEMU: its serial line, and the sockets it has connected to."""

    def __init__(self, child: proc.Child, serial: int, sockets: dict[str, socket.socket]) -> None:
        self.child, self.serial, self.sockets, self.seen = child, serial, sockets, ""

    def wait_for(self, text: str, timeout_s: float = BOOT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.seen:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.serial], [], [], left)[0]
            data = os.read(self.serial, 65536) if ready else b""
            assert data, f"{text!r} did not come; the guest said: {self.seen[-2000:]}"
            self.seen += data.decode(errors="replace")

    def ask(self, name: str, command: str, **arguments: object) -> object:
        """A JSON command to the agent or to QMP; what it returned."""
        stream = self.sockets[name]
        stream.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        with stream.makefile("rb") as lines:
            for line in lines:
                answer = json.loads(line)
                assert "error" not in answer, answer
                if "return" in answer:
                    return answer["return"]
        raise AssertionError("closed without an answer")


@contextlib.contextmanager
def booted(directory: Path, *arguments: str, memory_mib: int = 256) -> Iterator[Guest]:
    kernel, initrd = tiny_image()
    listeners = {}
    for name in ("qga", "qmp"):
        listeners[name] = socket.socket(socket.AF_UNIX)
        listeners[name].bind(str(directory / name))
        listeners[name].listen(1)
    reading, writing = os.pipe()
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", str(memory_mib), "-no-reboot", "-nodefaults", "-vga", "std"]
    argv += ["-kernel", str(kernel), "-initrd", str(initrd), "-display", "none", "-serial", "stdio", *arguments]
    argv += ["-qmp", f"unix:{directory}/qmp", "-device", "virtio-serial"]
    argv += ["-chardev", f"socket,id=qga,path={directory}/qga"]
    argv += ["-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0"]
    child = proc.spawn(argv, stdout=writing)
    os.close(writing)
    sockets = {}
    try:
        for name, listener in listeners.items():
            listener.settimeout(30)
            sockets[name] = listener.accept()[0]
            sockets[name].settimeout(60)
        yield Guest(child, reading, sockets)
    finally:
        child.signal(signal.SIGKILL)
        os.read(reading, 65536)
        child._popen.wait(10)
        os.close(reading)
        for stream in (*sockets.values(), *listeners.values()):
            stream.close()


def test_both_nic_drivers_get_leases_and_the_agent_answers(tmp_path: Path) -> None:
    nics = ("-nic", "user,model=e1000", "-nic", "user,model=virtio-net-pci,net=10.7.7.0/24")
    with booted(tmp_path, *nics, "-append", "console=ttyS0 hostname=lamb") as guest:
        guest.wait_for("megatools: ready")
        guest.wait_for("megatools: lease 10.0.2.15 on eth")
        guest.wait_for("megatools: lease 10.7.7.15 on eth")
        guest.ask("qga", "guest-ping")
        assert guest.ask("qga", "guest-get-host-name") == {"host-name": "lamb"}


def test_boots_in_128_mib_without_a_network_or_a_command_line_and_takes_keys(tmp_path: Path) -> None:
    with booted(tmp_path, memory_mib=128) as guest:
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
    with booted(tmp_path, "-append", "console=ttyS0") as guest:
        guest.ask("qmp", "qmp_capabilities")
        guest.wait_for("megatools: ready")
        guest.ask("qmp", "netdev_add", type="user", id="late")
        guest.ask("qmp", "device_add", driver="virtio-net-pci", netdev="late", id="nic")
        guest.wait_for("megatools: lease 10.0.2.15 on eth0")
