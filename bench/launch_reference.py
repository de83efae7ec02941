"""The reference of `launch`: VMs started one after another, as a simple launcher does; runs inside the namespace.

Reads {"argv", "vsctl", "count"} as JSON on standard input and prints the seconds it took. Each QEMU gets the same
command line as ours (own directory, tap, MAC and UUID; the monitor we inherit is left out), its monitor is dialled
every 5 ms, and one `ovs-vsctl add-port` runs per VM.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_DIAL_S = 0.005


def main() -> int:
    """Run the reference once."""
    asked = json.load(sys.stdin)
    argv: list[str] = asked["argv"]
    vsctl: list[str] = asked["vsctl"]
    count: int = asked["count"]
    home = Path(tempfile.mkdtemp(prefix="mt-ref-", dir="/tmp"))
    started: list[subprocess.Popen[bytes]] = []
    begin = time.monotonic()
    try:
        for index in range(count):
            own = home / str(index)
            own.mkdir()
            command = own_argv(argv, index, own)
            started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
            _dial(own / "qmp")
            subprocess.run([*vsctl, "add-port", "mega_bridge", f"ref{index}", "tag=1"], check=True, timeout=60)
        print(time.monotonic() - begin)
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()
        dropped = [word for index in range(count) for word in ("--", "--if-exists", "del-port", f"ref{index}")]
        subprocess.run([*vsctl, *dropped[1:]], check=True, timeout=120)
        shutil.rmtree(home, ignore_errors=True)
    return 0


def own_argv(argv: list[str], index: int, home: Path) -> list[str]:
    """The same command line for a VM of the reference: own directory, tap, MAC, name and UUID; no inherited monitor."""
    directory = str(Path(argv[argv.index("-pidfile") + 1]).parent)
    words: list[str] = []
    at = 0
    while at < len(argv):
        word = argv[at]
        if "fd=" in word and words[-1] == "-chardev":
            words.pop()
            lost = word.split("id=")[1].split(",")[0]
            at += 1
            if argv[at] == "-mon" and lost in argv[at + 1]:
                at += 2
            continue
        words.append(word.replace(directory, str(home)))
        at += 1
    text = "\0".join(words)
    old_tap = text.split("ifname=")[1].split(",")[0].split("\0")[0]
    old_mac = text.split("mac=")[1].split(",")[0].split("\0")[0]
    text = text.replace(f"ifname={old_tap}", f"ifname=ref{index}").replace(
        old_mac, f"52:54:00:00:{index // 256:02x}:{index % 256:02x}"
    )
    words = text.split("\0")
    words[words.index("-uuid") + 1] = f"00000000-0000-4000-8000-{index:012x}"
    return words


def _dial(path: Path) -> None:
    """Connect every 5 ms until QEMU answers, then greet and negotiate, as a simple launcher does."""
    deadline = time.monotonic() + 60
    while True:
        with socket.socket(socket.AF_UNIX) as monitor, contextlib.suppress(OSError):
            monitor.connect(str(path))
            with monitor.makefile("rb") as stream:
                stream.readline()
                monitor.sendall(b'{"execute":"qmp_capabilities"}\n')
                if b"return" in stream.readline():
                    return
        assert time.monotonic() < deadline, f"no monitor at {path}"
        time.sleep(_DIAL_S)  # the reference's own polling, by definition


if __name__ == "__main__":
    sys.exit(main())
