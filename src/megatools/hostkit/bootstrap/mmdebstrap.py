"""Drive mmdebstrap: packages of a Debian suite, with all they need, as one tar file.

The argument list is pure text; `bootstrap` runs it in a process namespace of its own, so that nothing it started and
nothing it mounted outlives it, however it ends. INITRD=No keeps initramfs-tools quiet: the image is the initrd.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.bootstrap.sources import Archive
from megatools.hostkit.errors import CommandFailed, InvalidInput, Unavailable

EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
# What says how archives are reached, and for how long their lists are good; nothing that weakens the check of keys
_HOST_OPTIONS = ("Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy")
# mmdebstrap lends the tree this host's name and resolver; they are no part of an image
_FORGET_HOST = 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf"'
# Ends with its parent: the kernel's signal for that is asked for first, then whether the parent is still there
_WITH_PARENT = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'
_MISSING = re.compile(r"Unable to locate package (\S+)|Package '?([^' ]+)'? has no installation candidate")


class Request(msgspec.Struct, frozen=True):
    """What to install: a suite, from archives or (when there are none) a mirror's address, and packages."""

    suite: str
    packages: tuple[str, ...]
    archives: tuple[Archive, ...] = ()
    mirror: str = ""
    variant: str = "minbase"
    epoch: int = 0


def argv(request: Request, target: Path, sources: Path, options: tuple[str, ...] = ()) -> list[str]:
    """The command: `sources` is the file the archives' text is in, `options` are apt settings."""
    words = ["mmdebstrap", "--mode=root", "--format=tar", f"--variant={request.variant}", "--verbose"]
    if request.packages:
        words.append(f"--include={','.join(request.packages)}")
    words += [f"--aptopt={option}" for option in options]
    words.append(f"--customize-hook={_FORGET_HOST}")
    words += [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    return [*words, request.suite, str(target), str(sources) if request.archives else request.mirror]


def version() -> str:
    """Which mmdebstrap this is; raises NotFound when it is absent."""
    done = proc.run_sync(["mmdebstrap", "--version"], timeout_s=30)
    return (done.stdout + done.stderr).decode(errors="replace").strip()


def host_options() -> tuple[str, ...]:
    """Apt settings of this host that a build needs too (proxies, snapshot archives)."""
    done = proc.run_sync(["apt-config", "dump", *_HOST_OPTIONS], timeout_s=30)
    return tuple(
        f'{match[1]} "{match[2]}"'
        for match in re.finditer(r'^(\S+) "([^"]+)";$', done.text, re.MULTILINE)
        if match[1] in _HOST_OPTIONS
    )


def bootstrap(request: Request, target: Path, *, workspace: Path, timeout_s: float = 3600) -> str:
    """Make `target` (a tar, compressed as its name says) and return what was printed.

    Needs root. Raises InvalidInput for a package that does not exist, CommandFailed, Unavailable (too slow).
    """
    sources = workspace / "archives.sources"
    sources.write_text("\n".join(archive.text() for archive in request.archives))
    environment = {"INITRD": "No", "TMPDIR": str(workspace), "SOURCE_DATE_EPOCH": str(request.epoch)}
    command = contained(argv(request, target, sources, host_options()))
    done = proc.run_sync(command, timeout_s=timeout_s, check=False, env=environment)
    output = (done.stdout + done.stderr).decode(errors="replace")
    if done.status != 0:
        raise _reason(output, done)
    return output


def _reason(output: str, done: proc.Completed) -> Exception:
    missing = dict.fromkeys(match[1] or match[2] for match in _MISSING.finditer(output))
    if missing:
        names = ", ".join(f'"{name}"' for name in missing)
        return InvalidInput(f"no package {names} in the sources")
    if re.search(r"Could not resolve|Could not connect|Temporary failure resolving|Connection failed", output):
        return Unavailable("the package sources cannot be reached", hint="check the network, or name a --mirror")
    told = [line for line in output.splitlines() if line.startswith(("E:", "W:", "Err:"))][-6:]
    return CommandFailed("; ".join(told) or proc.failure_text(done))


def contained(command: list[str]) -> list[str]:
    """The command with its own processes and mounts, all of which end with it, and with us."""
    return [
        *("setpriv", "--pdeathsig", "KILL", "sh", "-c", _WITH_PARENT, str(os.getpid())),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
        *command,
    ]
