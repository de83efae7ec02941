"""A real minimega daemon for tests and benches: started, asked over its socket, killed, and cleaned up after.

It runs where `prefix` puts it, such as `("ip", "netns", "exec", NAME)`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path

from megatools.minimega.app.client import Connection, DaemonError

Row = dict[str, str]


class CommandRefused(AssertionError):
    """A command answered with an error; the text is the daemon's."""


class Daemon:
    """One base directory, and the daemon that lives there from time to time."""

    def __init__(self, base: Path, *, prefix: Sequence[str] = (), flags: Sequence[str] = ()) -> None:
        self.base = base
        self.prefix = tuple(prefix)
        self.flags = tuple(flags)
        self.socket = base / "minimega"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *scripts: Path, timeout_s: float = 60.0) -> None:
        """Start the daemon and wait until its socket answers."""
        argv = [*self.prefix, sys.executable, "-m", "megatools.minimega.app.main", "-nostdin"]
        argv += ["-base", str(self.base), *self.flags, *map(str, scripts)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log_text()}")
            with contextlib.suppress(DaemonError):
                self.ask("version")
                return
            time.sleep(0.02)
        raise AssertionError(f"the daemon did not answer within {timeout_s} s:\n{self.log_text()}")

    @property
    def log(self) -> Path:
        """What it writes to its standard streams, beside the base directory."""
        return self.base.with_name(self.base.name + ".log")

    def log_text(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self.process is not None
        return self.process.pid

    def connect(self) -> Connection:
        """A connection of one's own."""
        return Connection(str(self.socket))

    def answers(self, line: str) -> list[dict[str, object]]:
        """All responses to a line, as the protocol has them."""
        import socket as sockets

        with sockets.socket(sockets.AF_UNIX) as client:
            client.settimeout(300)
            client.connect(str(self.socket))
            client.sendall(json.dumps({"Command": line}).encode() + b"\n")
            found: list[dict[str, object]] = []
            with client.makefile("rb") as stream:
                while text := stream.readline():
                    reply = json.loads(text)
                    if reply["Status"]:
                        continue
                    found += reply["Resp"] or ()
                    if not reply["More"]:
                        return found
        raise AssertionError(f"no end of the answer to {line!r}")

    def ask(self, line: str) -> str:
        """What a line answers as text; raises CommandRefused for the first error."""
        texts: list[str] = []
        with self.connect() as connection:
            for reply in connection.command(line):
                if reply.errors:
                    raise CommandRefused(reply.errors[0][1])
                if not reply.status:
                    texts.append(reply.rendered)
        return "\n".join(text for text in texts if text)

    def refused(self, line: str) -> str:
        """The error a line answers; fails when it succeeds."""
        try:
            answer = self.ask(line)
        except CommandRefused as error:
            return str(error)
        raise AssertionError(f"{line!r} succeeded: {answer!r}")

    def rows(self, line: str) -> list[Row]:
        """A table as one dictionary of columns a row."""
        found: list[Row] = []
        for response in self.answers(line):
            if response["Error"]:
                raise CommandRefused(str(response["Error"]))
            header = response["Header"] or []
            assert isinstance(header, list)
            table = response["Tabular"] or []
            assert isinstance(table, list)
            found += [dict(zip(header, row, strict=True)) for row in table]
        return found

    def vm(self, name: str) -> Row:
        """A VM's row of `vm info`."""
        return next(row for row in self.rows("vm info") if row["name"] == name)

    def wait_for_addresses(self, count: int, *, timeout_s: float) -> list[Row]:
        """The rows of `vm info` once `count` VMs have an IPv4 address."""
        deadline = time.monotonic() + timeout_s
        while True:
            rows = self.rows("vm info")
            if sum(bool(row["ip"].strip("[], ")) for row in rows) >= count:
                return rows
            assert time.monotonic() < deadline, f"no {count} leases within {timeout_s} s: {rows}\n{self.log_text()}"
            time.sleep(0.3)

    def kill9(self) -> None:
        """Kill the daemon, and nothing else, without warning."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals, *, timeout_s: float = 120.0) -> int:
        """Signal the daemon and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def quit(self, *, timeout_s: float = 120.0) -> int:
        """Tear down; returns the exit status."""
        self.ask("quit")
        assert self.process is not None
        return self.process.wait(timeout_s)

    def qemus(self) -> list[int]:
        """The pids of the QEMU processes whose pid file lies in this base directory."""
        mark = os.fsencode(f"{self.base}/")
        found: list[int] = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"qemu" in words[0] and any(word.startswith(mark) and word.endswith(b"qemu.pid") for word in words):
                    found.append(int(path.parent.name))
        return found

    def clean(self) -> None:
        """End everything this base directory started, however the test ended, and remove the directory."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(Exception):
                self.quit(timeout_s=60)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        if self.qemus() or (self.base / "journal.db").exists():
            with contextlib.suppress(Exception):
                self.start()
                self.ask("nuke all")
                assert self.process is not None
                self.process.wait(60)
        for pid in self.qemus():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.base, ignore_errors=True)
        self.log.unlink(missing_ok=True)


@contextlib.contextmanager
def daemon_at(*, prefix: Sequence[str] = (), flags: Sequence[str] = ()) -> Generator[Daemon]:
    """A daemon in a new base directory (short: sockets have short paths), not started yet."""
    base = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp")) / "b"
    daemon = Daemon(base, prefix=prefix, flags=flags)
    try:
        yield daemon
    finally:
        daemon.clean()
        shutil.rmtree(base.parent, ignore_errors=True)
