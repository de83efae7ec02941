"""Run a program so that nothing it starts or mounts outlives it, or us; as root, or as root of a user namespace.

Called by the bootstrap drivers and vmbetter's stages. `follow` hands on lines while the program runs. Root builds in
mount and process namespaces; anybody else in a user namespace as well, with the user's subordinate ids (subuid(5)),
in which mknod(2) is refused and everything else a build does works.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import CommandFailed, InvalidState, PermissionDenied, Unavailable

# Ends with its parent: the kernel's signal for that is asked for first, then whether the parent is still there
_WITH_PARENT = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'
_BLOCK = 1 << 16
_ESCAPED = re.compile(r"\\([0-7]{3})")  # blanks and the like in mountinfo


def is_rootless() -> bool:
    """Whether builds of this process need a user namespace."""
    return os.geteuid() != 0


def contained(command: list[str]) -> list[str]:
    """The command with its own processes and mounts, all of which end with it, and with us; root inside."""
    return tied(separated(command))


def tied(command: list[str]) -> list[str]:
    """The command so that the kernel kills it when this process (the thread that starts it) ends, however it ends."""
    return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", _WITH_PARENT, str(os.getpid()), *command]


def separated(command: list[str]) -> list[str]:
    """The same for a command that takes our place (exec): it is not watched for our end."""
    user = ("--map-auto", "--map-root-user") if is_rootless() else ()
    apart = ("--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc", "--")
    return ["unshare", *user, *apart, *command]


def check_usable() -> None:
    """Raise PermissionDenied, with what to do, when an ordinary user cannot build on this host."""
    if not is_rootless():
        return
    name = pwd.getpwuid(os.geteuid()).pw_name
    for kind in ("subuid", "subgid"):
        lines = Path("/etc", kind).read_text().splitlines() if Path("/etc", kind).exists() else []
        if not any(line.split(":")[0] in (name, str(os.geteuid())) for line in lines):
            hint = (
                f"as root: usermod --add-subuids 200000-265535 --add-subgids 200000-265535 {name}; or build with sudo"
            )
            raise PermissionDenied(f'user "{name}" has no subordinate ids in "/etc/{kind}"', hint=hint)
    tried = proc.run_sync(separated(["true"]), timeout_s=30, check=False)
    if tried.status != 0:
        hint = "build with sudo, or allow user namespaces (newuidmap is in the package uidmap)"
        raise PermissionDenied(f"user namespaces are not usable: {proc.failure_text(tried)}", hint=hint)


def mounted_below(path: Path) -> list[str]:
    """What is mounted in a folder, bound folders of the same file system included; sorted."""
    return points_below(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"), str(path.resolve()))


def points_below(mountinfo: str, folder: str) -> list[str]:
    """Mount points inside a folder, from the text of proc_pid_mountinfo(5)."""
    places = (line.split(" ")[4] for line in mountinfo.splitlines())
    points = {_ESCAPED.sub(lambda match: chr(int(match[1], 8)), place) for place in places}
    return sorted(point for point in points if point.startswith(folder.rstrip("/") + "/"))


def check_unmounted(path: Path) -> None:
    """Raise InvalidState when something is mounted in a folder: to remove that would be to empty something else."""
    if points := mounted_below(path):
        told = ", ".join(f'"{point}"' for point in points)
        raise InvalidState(f'"{path}" is in use: {told} is mounted', hint=f"umount --recursive {points[0]}")


def remove(path: Path) -> None:
    """Remove a folder whoever owns what is in it; nothing happens when it is absent.

    Raises InvalidState, having removed nothing, when something is mounted in it.
    """
    check_unmounted(path)
    shutil.rmtree(path, ignore_errors=True)
    if path.exists() and is_rootless():
        proc.run_sync(contained(["rm", "-rf", "--one-file-system", str(path)]), timeout_s=600, check=False)


def follow(
    argv: list[str],
    line: Callable[[str], None],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    directory: Path | None = None,
    name: str = "",
) -> int:
    """Run a program, handing on each line of its output and errors as it comes; the exit status.

    `name` is what errors call it, if that is not the command's first word.

    Raises Unavailable when it takes too long; it is ended then, as it is when `line` raises.
    """
    name = name or argv[0]
    deadline = time.monotonic() + timeout_s
    reading, writing = os.pipe()
    with contextlib.closing(os.fdopen(reading, "rb", buffering=0)) as stream:
        try:
            child = proc.spawn(argv, stdout=writing, stderr=writing, env=env, cwd=directory)
        finally:
            os.close(writing)
        pidfd = os.pidfd_open(child.pid)
        with _ended(child, pidfd):
            rest = b""
            while _wait(stream.fileno(), deadline, name, timeout_s):
                block = stream.read(_BLOCK)
                if not block:
                    break
                *lines, rest = (rest + block).replace(b"\r", b"\n").split(b"\n")
                for text in lines:
                    line(text.decode(errors="replace"))
            if rest:
                line(rest.decode(errors="replace"))
            _wait(pidfd, deadline, name, timeout_s)
            status = child.poll()
    if status is None:
        raise CommandFailed(f'"{name}" ended without a status')
    return status


@contextlib.contextmanager
def _ended(child: proc.Child, pidfd: int) -> Generator[None]:
    """End the child's whole session on the way out."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        proc.readable(pidfd, timeout_s=30)
        child.poll()
        raise
    finally:
        os.close(pidfd)


def _wait(descriptor: int, deadline: float, name: str, timeout_s: float) -> bool:
    if not proc.readable(descriptor, timeout_s=max(0.0, deadline - time.monotonic())):
        raise Unavailable(f'"{name}" did not finish within {timeout_s:g} s')
    return True
