"""A guest in QEMU for tests: its serial line to read and type on, its guest agent and QEMU's monitor to ask.

    with booted(boottest.argv(machine, 512, "tcg"), tmp_path) as guest:
        guest.wait_for("login: ")
        guest.log_in()
        guest.run("uname -r")
        guest.ask("qga", "guest-ping")

Nothing is asserted about seconds; waits have generous ends.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

BOOT_S = 600.0
ANSWER_S = 180.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc|[\r\x00]")
_HALF = re.compile(r"(\x1b[^A-Za-z]*)?$")


class Guest:
    """A running QEMU and the sockets it has connected to: serial, qga, qmp."""

    def __init__(self, sockets: dict[str, socket.socket]) -> None:
        self.sockets = sockets
        self.said = ""  # all of the serial line, escapes left out
        self._rest = ""  # the beginning of an escape sequence
        self._at = 0  # what was waited for already

    def wait_for(self, pattern: str, timeout_s: float = BOOT_S) -> str:
        """Wait until the serial line says something new that matches; what came before it and it."""
        deadline = time.monotonic() + timeout_s
        while (found := re.compile(pattern).search(self.said, self._at)) is None:
            self._hear(deadline, pattern)
        text, self._at = self.said[self._at : found.end()], found.end()
        return text

    def see(self, text: str, timeout_s: float = BOOT_S) -> None:
        """Wait until the serial line has said this, at whatever time."""
        deadline = time.monotonic() + timeout_s
        while text not in self.said:
            self._hear(deadline, text)

    def _hear(self, deadline: float, wanted: str) -> None:
        left = deadline - time.monotonic()
        assert left > 0, f"{wanted!r} did not come; the guest said: {self.said[-3000:]}"
        if not select.select([self.sockets["serial"]], [], [], left)[0]:
            return
        data = self.sockets["serial"].recv(65536)
        assert data, f"the guest ended before {wanted!r}; it said: {self.said[-3000:]}"
        text = self._rest + data.decode(errors="replace")
        self._rest = _HALF.search(text)[0]
        self.said += _ESCAPES.sub("", text.removesuffix(self._rest))

    def type(self, line: str) -> None:
        """Type a line on the serial line."""
        self.sockets["serial"].sendall(line.encode() + b"\n")

    def log_in(self, user: str = "root") -> None:
        """At "login: ", log in without a password; then as `at_prompt`."""
        self.type(user)
        self.at_prompt()

    def at_prompt(self) -> None:
        """Wait for root's prompt, and have what is typed from now on not come back."""
        self.wait_for("# ", ANSWER_S)
        self.type("stty -echo cols 999; echo qui''et")
        self.wait_for("quiet\n.*# ", ANSWER_S)

    def run(self, command: str, *, timeout_s: float = ANSWER_S, status: int = 0) -> str:
        """Run a command in the shell at the prompt; what it printed."""
        self.type(f"{command}; printf '\\ndone:%s\\n' $?")
        printed, _, code = self.wait_for(r"\ndone:\d+\n", timeout_s).rpartition("\ndone:")
        self.wait_for("# ", timeout_s)
        assert int(code) == status, f"{command}: status {code.strip()}: {printed}"
        return printed.strip()

    def ask(self, name: str, command: str, *, timeout_s: float = BOOT_S, **arguments: object) -> object:
        """A JSON command to the agent ("qga") or the monitor ("qmp"); what it returned.

        A question to an agent that does not run yet waits in its port.
        """
        stream = self.sockets[name]
        stream.settimeout(timeout_s)
        stream.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        with stream.makefile("rb") as lines:
            for line in lines:
                answer = json.loads(line)
                assert "error" not in answer, answer
                if "return" in answer:
                    return answer["return"]
        raise AssertionError("closed without an answer")


@contextlib.contextmanager
def booted(argv: list[str], directory: Path) -> Iterator[Guest]:
    """Run a QEMU command line (without `-serial`) with a serial line, a monitor and a port for the guest agent."""
    listeners: dict[str, socket.socket] = {}
    sockets: dict[str, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        for name in ("serial", "qmp", "qga"):
            listeners[name] = stack.enter_context(socket.socket(socket.AF_UNIX))
            listeners[name].bind(str(directory / name))
            stack.callback((directory / name).unlink)
            listeners[name].listen(1)
        words = ["-chardev", f"socket,id=serial,path={directory}/serial", "-serial", "chardev:serial"]
        words += ["-qmp", f"unix:{directory}/qmp", "-device", "virtio-serial"]
        words += ["-chardev", f"socket,id=qga,path={directory}/qga"]
        words += ["-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0"]
        said = stack.enter_context((directory / "qemu.log").open("w+b"))
        with subprocess.Popen([*argv, *words], stdin=subprocess.DEVNULL, stdout=said, stderr=said) as child:
            stack.callback((directory / "qemu.log").unlink)
            try:
                for name, listener in listeners.items():
                    sockets[name] = stack.enter_context(_accepted(listener, child, directory / "qemu.log"))
                yield Guest(sockets)
            finally:
                child.kill()


def _accepted(listener: socket.socket, child: subprocess.Popen[bytes], log: Path) -> socket.socket:
    """QEMU's connection. Fails when it ended before."""
    while not select.select([listener], [], [], 0.5)[0]:
        assert child.poll() is None, f"QEMU ended: {log.read_text()}"
    return listener.accept()[0]
