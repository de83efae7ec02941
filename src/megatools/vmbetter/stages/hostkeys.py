"""Images hold no SSH host keys, so a machine that runs sshd must make its own when it first boots.

Called by the assembly: where packages bring sshd as a service of systemd, an overlay that sees to it goes before the
config's own, which may replace it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from megatools.vmbetter.tree import Member

NAME = "vmbetter-host-keys"  # as manifests name it
_SERVICES = ("usr/lib/systemd/system/ssh.service", "lib/systemd/system/ssh.service")
_PLACE = "etc/systemd/system/ssh.service.d/host-keys.conf"
_TEXT = """# Written by vmbetter: images hold no host keys, each machine makes its own when it first boots.
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
"""


def are_needed(members: Iterable[Member]) -> bool:
    """Whether a packages' tree has such a service."""
    return any(member.name in _SERVICES for member in members)


def overlay(workspace: Path) -> Path:
    """The overlay's folder, the same whatever this process's umask is."""
    top = workspace / NAME
    file = top / _PLACE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_TEXT)
    file.chmod(0o644)
    for folder in file.parents[: len(Path(_PLACE).parts)]:
        folder.chmod(0o755)
    return top
