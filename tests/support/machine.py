"""A machine for several users: a private mount namespace with its own /etc/igor.conf, hosts, users and TFTP root.

    with machine(igor_conf) as here:
        here.serve()                                       # igor's service, as root
        done = here.igor("alice", "sub", "-r", "x", ...)   # as a real user, with that user's groups only

Users are alice and bob (both in the group lab), carol (in no group) and adam (in the group admins). kn1 to kn520
resolve. Nothing of it is visible outside, except processes.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import netns
from tests.support.images import REPOSITORY

USERS = {"alice": 61001, "bob": 61002, "carol": 61003, "adam": 61004}
GROUPS = {"lab": (62001, "alice,bob"), "admins": (62002, "adam")}
TFTPROOT = Path("/mnt/tftpboot")
SOCKET = Path("/mnt/igor.sock")
HOME = Path("/mnt/home")
NODES = 520


@dataclass
class Machine:
    """The namespace, held open by a sleeping process."""

    base: Path
    holder: subprocess.Popen[bytes]
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(
        self, user: str, *argv: str, check: bool = True, timeout_s: float = 60.0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside as a user (root too), in that user's home."""
        done = subprocess.run(
            [*self._entering(user), *argv],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"} | (env or {}),
        )
        assert not check or done.returncode == 0, f"{user}: {argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def igor(
        self, user: str, *words: str, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run igor inside as a user, with /etc/igor.conf."""
        return self.run(user, str(REPOSITORY / ".venv/bin/igor"), *words, check=check, env=env)

    def refused(self, status: int, user: str, *words: str, env: dict[str, str] | None = None) -> str:
        """Run igor, which must end with this status; returns its error."""
        done = self.igor(user, *words, check=False, env=env)
        assert done.returncode == status, f"{user}: {words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr

    def read(self, path: Path) -> str:
        """A file inside."""
        return (Path(f"/proc/{self.holder.pid}/root") / path.relative_to("/")).read_text()

    def exists(self, path: Path) -> bool:
        """Whether there is such a file inside."""
        return (Path(f"/proc/{self.holder.pid}/root") / path.relative_to("/")).exists()

    def configure(self, **settings: object) -> None:
        """Change /etc/igor.conf; the service reads it when it starts."""
        write_config(self.base / "igor.conf", settings)

    def serve(self) -> None:
        """Start igor's service as root and wait until its socket is there."""
        argv = [*self._entering("root"), str(REPOSITORY / ".venv/bin/igor"), "serve"]
        with (self.base / "serve.log").open("ab") as log:
            server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.servers.append(server)
        deadline = time.monotonic() + 60
        while not self.exists(SOCKET):
            assert server.poll() is None, (self.base / "serve.log").read_text()
            assert time.monotonic() < deadline, (self.base / "serve.log").read_text()
            time.sleep(0.05)

    def expire(self, name: str) -> None:
        """Let a reservation's time be over since a second: as if it had been made earlier."""
        program = (
            "import sys, time, msgspec; from pathlib import Path; from megatools.igor.store.store import Store\n"
            f"store = Store(Path('{TFTPROOT}/igor/state'), Path('{TFTPROOT}'))\n"
            "found, now = store.named(sys.argv[1]), int(time.time())\n"
            "with store.change() as change:\n"
            "    change.put(msgspec.structs.replace(found, start_s=now - 3600, end_s=now - 1))\n"
        )
        self.run("root", str(REPOSITORY / ".venv/bin/python"), "-c", program, name)

    def stop_serving(self) -> None:
        """End the service and wait for it."""
        while self.servers:
            server = self.servers.pop()
            server.send_signal(signal.SIGTERM)
            server.wait(60)

    def _entering(self, user: str) -> list[str]:
        words = [
            "nsenter",
            f"--mount=/proc/{self.holder.pid}/ns/mnt",
            f"--wdns={HOME / user if user != 'root' else '/'}",
        ]
        if user == "root":
            return words
        number = str(USERS[user])
        return [*words, "setpriv", f"--reuid={number}", f"--regid={number}", "--init-groups"]


@contextlib.contextmanager
def machine(**settings: object) -> Iterator[Machine]:
    """A machine whose igor is set up; its service is not started."""
    with netns.base_directory() as base:
        base.chmod(0o755)
        _write_etc(base)
        write_config(base / "igor.conf", settings)
        homes = " && ".join(f"install -d -o {number} -m 755 {HOME}/{name}" for name, number in USERS.items())
        binds = " && ".join(f"mount --bind {base}/{name} /etc/{name}" for name in ("hosts", "passwd", "group"))
        script = (
            "mount -t tmpfs -o mode=755 none /mnt && mkdir /mnt/etc /mnt/etc-work"
            " && mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/etc-work none /etc"
            f" && {binds} && touch /etc/igor.conf && mount --bind {base}/igor.conf /etc/igor.conf"
            f" && install -d {TFTPROOT} && {homes} && echo ready && exec sleep infinity"
        )
        holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        here = Machine(base, holder)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            here.igor("root", "setup")
            yield here
        finally:
            here.stop_serving()
            holder.kill()
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()


def write_config(path: Path, settings: dict[str, object]) -> None:
    """The document's cluster, and more keys."""
    configuration = {
        "tftproot": f"{TFTPROOT}/", "prefix": "kn", "start": 1, "end": NODES, "rackwidth": 8, "rackheight": 5,
        "socket": str(SOCKET), "admin_groups": ["admins"], "probes": {"enabled": False},
    }  # fmt: skip
    path.write_text(json.dumps(configuration | settings))


def _write_etc(base: Path) -> None:
    lines = [f"10.1.{number // 256}.{number % 256} kn{number}" for number in range(1, NODES + 1)]
    (base / "hosts").write_text("127.0.0.1 localhost\n" + "\n".join(lines) + "\n")
    users = [f"{name}:x:{number}:{number}::{HOME / name}:/bin/sh" for name, number in USERS.items()]
    (base / "passwd").write_text(Path("/etc/passwd").read_text() + "\n".join(users) + "\n")
    groups = [f"{name}:x:{number}:" for name, number in USERS.items()]
    groups += [f"{name}:x:{number}:{members}" for name, (number, members) in GROUPS.items()]
    (base / "group").write_text(Path("/etc/group").read_text() + "\n".join(groups) + "\n")
