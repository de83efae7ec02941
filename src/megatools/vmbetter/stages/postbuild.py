"""Third stage: the postbuild scripts, run inside the tree.

Called by the builder; needs root. Each script runs under bash in process, mount and IPC namespaces of its own, with
/proc, a read-only /sys, a small /dev on a tmpfs whose nodes are the host's but cannot be removed or added to, /run on
a tmpfs, and the host's resolver. Its exit status decides.
"""

from __future__ import annotations

from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.bootstrap.mmdebstrap import contained
from megatools.hostkit.errors import CommandFailed
from megatools.vmbetter.config.recipe import Entry

TIMEOUT_S = 1800.0

# $1: the tree, $2: the script. Kernel settings are read-only: they would be the host's.
_SETUP = """
set -e
mount -t proc -o nosuid,nodev,noexec proc "$1/proc"
mount --bind "$1/proc/sys" "$1/proc/sys"
mount -o remount,bind,ro "$1/proc/sys"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$1/sys"
mount -t tmpfs -o mode=755,nosuid,size=64m tmpfs "$1/dev"
mkdir "$1/dev/pts" "$1/dev/shm"
for node in null zero full random urandom tty; do
    : > "$1/dev/$node"
    mount --bind "/dev/$node" "$1/dev/$node"
done
ln -s /proc/self/fd "$1/dev/fd"
ln -s /proc/self/fd/0 "$1/dev/stdin"
ln -s /proc/self/fd/1 "$1/dev/stdout"
ln -s /proc/self/fd/2 "$1/dev/stderr"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$1/run"
cp "$2" "$1/run/postbuild"
cd "$1"
exec chroot "$1" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
    HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH="$3" /bin/bash /run/postbuild
"""


def run(entry: Entry, tree: Path, workspace: Path, *, epoch: int, timeout_s: float = TIMEOUT_S) -> str:
    """Run one script in a tree; what it printed. Raises CommandFailed (its status), Unavailable (it never ends)."""
    script = workspace / "postbuild"
    script.write_text(entry.value)
    lent = _lend_resolver(tree)
    try:
        command = ["/bin/sh", "-c", _SETUP, "postbuild", str(tree), str(script), str(epoch)]
        done = proc.run_sync(contained(command), timeout_s=timeout_s, check=False)
    finally:
        if lent is not None and lent.is_file():
            lent.unlink()
    output = (done.stdout + done.stderr).decode(errors="replace")
    if done.status != 0:
        last = "\n".join(f"    {line}" for line in output.splitlines()[-8:])
        told = f", after saying:\n{last}" if last else ""
        raise CommandFailed(f'postbuild at "{entry.origin}" ended with status {done.status}{told}')
    return output


def _lend_resolver(tree: Path) -> Path | None:
    """The host's resolv.conf in a tree that has none of its own; the path to be removed afterwards."""
    target, host = tree / "etc/resolv.conf", Path("/etc/resolv.conf")
    if target.is_symlink() or target.exists() or not host.is_file() or not target.parent.is_dir():
        return None
    target.write_bytes(host.read_bytes())
    return target
