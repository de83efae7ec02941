"""Third stage: the postbuild scripts, run inside the tree.

Called by the builder and the shell. The tree is an overlayfs: below, the packages as they were unpacked once; above,
a folder that begins with the overlays' layer and ends with all changes. Each script runs under bash in process, mount
and IPC namespaces of its own, with /proc (kernel settings read-only), /sys read-only, a small private /dev, an empty
/run, the host's resolver (hostkit/bootstrap/resolver), and without the capabilities that reach beyond the tree: it
cannot mount, load modules, set the clock, change the host's network or open a device, the host's /dev included. Its
exit status decides.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

import megatools
from megatools.hostkit import proc
from megatools.hostkit.bootstrap.sandbox import contained, follow, separated
from megatools.hostkit.errors import CommandFailed, Unavailable
from megatools.vmbetter import tree
from megatools.vmbetter.config.recipe import Entry
from megatools.vmbetter.events import Reporter
from megatools.vmbetter.tree import Layer

STAGE = "postbuild"
FORMAT = 2
TIMEOUT_S = 1800.0
_LAST_LINES = 12
# $1: the folder of the mounts; the rest is run inside, after /run/postbuild is there
_SETUP = """
set -e
cd "$1" && shift
if [ -d whole ]; then
    mount --bind whole/ mounted
    mount -o remount,bind,nodev mounted
else
    mount -t overlay -o userxattr,nodev,lowerdir=lower,upperdir=upper,workdir=work overlay mounted
fi
mount -t proc -o nosuid,nodev,noexec proc mounted/proc
for path in acpi asound bus driver dynamic_debug fs irq latency_stats mtrr scsi sys sysrq-trigger sysvipc tty; do
    [ -e mounted/proc/$path ] || continue
    mount --bind mounted/proc/$path mounted/proc/$path
    mount -o remount,bind,ro,nosuid,nodev,noexec mounted/proc/$path
done
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs mounted/sys 2>/dev/null || mount --rbind /sys mounted/sys
mount -t tmpfs -o mode=755,nosuid,nodev,size=64m tmpfs mounted/dev
mkdir mounted/dev/pts mounted/dev/shm
for node in null zero full random urandom tty; do
    : > mounted/dev/$node
    mount --bind /dev/$node mounted/dev/$node
done
ln -s /proc/self/fd mounted/dev/fd
ln -s /proc/self/fd/0 mounted/dev/stdin
ln -s /proc/self/fd/1 mounted/dev/stdout
ln -s /proc/self/fd/2 mounted/dev/stderr
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs mounted/run
[ ! -f script ] || cp script mounted/run/postbuild
[ ! -f script ] || cp tell mounted/run/postbuild.tell
exec "$@"
"""
# Read by bash before a script: says that it begins; at its end, when that is a bad one, which command it was, and in
# which line if that is known
_TELL = r"""unset BASH_ENV
printf "\036\n" >&2
trap 'postbuild_line=$LINENO postbuild_command=$BASH_COMMAND' ERR
trap 'postbuild_status=$? postbuild_last=$BASH_COMMAND
[ $postbuild_status = 0 ] || case $postbuild_last in
trap\ *) ;;
exit*) printf "\036%s %s\n" 0 "$postbuild_last" >&2 ;;
*) printf "\036%s %s\n" "${postbuild_line:-0}" "${postbuild_command:-$postbuild_last}" >&2 ;;
esac' EXIT
"""
_TOLD = "\036"  # begins such a line
_COMMAND_LETTERS = 80
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Workplace(msgspec.Struct, frozen=True):
    """The folders an overlayfs is made of, all in `folder`: lower (a link), upper, work, mounted."""

    folder: Path

    @property
    def upper(self) -> Path:
        """Where changes are."""
        return self.folder / "upper"

    def command(self, words: list[str], epoch: int | None = None) -> list[str]:
        """What is to be run contained, so that bash runs in the tree with these arguments."""
        inside = self._entering()
        inside += [f"PATH={_PATH}", "HOME=/root", "LC_ALL=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}"]
        inside += [] if epoch is None else [f"SOURCE_DATE_EPOCH={epoch}"]
        inside += [] if epoch is None else ["BASH_ENV=/run/postbuild.tell"]
        inside += ["DEBIAN_FRONTEND=noninteractive", "/bin/bash", *words]
        return self._mounted(inside)

    @property
    def loan(self) -> Path:
        """What is to be taken back from the tree; empty when nothing is."""
        return self.folder / "loan"

    def taking_back(self) -> list[str]:
        """What is to be run contained, so that the tree gives back what was lent to it."""
        return self._mounted(self._entering())

    def _entering(self) -> list[str]:
        enter = "megatools.hostkit.bootstrap.enter"
        return [sys.executable, "-m", enter, str(self.folder / "mounted"), str(self.loan)]

    def _mounted(self, words: list[str]) -> list[str]:
        return ["/bin/sh", "-c", _SETUP, STAGE, str(self.folder), *words]


def prepare(lower: Path, overlays: Layer | None, folder: Path) -> Workplace:
    """Fresh folders for a run, the upper one holding the overlays' files. Raises as `proc.run_sync` does."""
    for name in ("upper", "work", "mounted"):
        (folder / name).mkdir(parents=True)
    (folder / "lower").symlink_to(lower)
    proc.run_sync(contained(["chmod", f"--reference={lower}", str(folder / "upper")]), timeout_s=30)
    if overlays is not None:
        unpack(overlays.tar, folder / "upper")
    return Workplace(folder)


def unpack(tar: Path, folder: Path) -> None:
    """Unpack a plain tar with owners, modes and attributes, as root of the namespace; device nodes are left out."""
    words = ["tar", "-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=./dev/*"]
    proc.run_sync(contained([*words, "-f", str(tar), "-C", str(folder)]), timeout_s=1800)


def run(
    entries: tuple[Entry, ...],
    place: Workplace,
    workspace: Path,
    reporter: Reporter,
    *,
    epoch: int,
    timeout_s: float = TIMEOUT_S,
) -> Layer:
    """Run the scripts in order; all that is different from the packages' tree then.

    Raises CommandFailed (a script's status), Unavailable (one never ends).
    """
    run_scripts(entries, place, reporter, epoch=epoch, timeout_s=timeout_s)
    raw = workspace / "upper.tar"
    words = ["tar", "-c", "--format=posix", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    proc.run_sync(contained([*words, "-f", str(raw), "-C", str(place.upper), "."]), timeout_s=1800)
    return tree.from_upper(raw, workspace / "layer.tar", epoch=epoch)


def run_scripts(
    entries: tuple[Entry, ...], place: Workplace, reporter: Reporter, *, epoch: int, timeout_s: float
) -> None:
    """Run the scripts in order, no more. Raises as `run`."""
    for number, entry in enumerate(entries, 1):
        reporter.step(STAGE, f"script {number} of {len(entries)} ({entry.origin})")
        _run(entry, place, reporter, epoch, timeout_s)


def _run(entry: Entry, place: Workplace, reporter: Reporter, epoch: int, timeout_s: float) -> None:
    (place.folder / "script").write_text(entry.value)
    (place.folder / "tell").write_text(_TELL)
    said: list[str] = []
    culprit = ""
    begun = False

    def line(text: str) -> None:
        nonlocal culprit, begun
        if text == _TOLD:
            begun = True
            return
        if text.startswith(_TOLD):
            culprit = _culprit(entry, text)
            return
        said.append(text)
        reporter.output(STAGE, text)

    command = contained(place.command(["/run/postbuild"], epoch))
    try:
        status = follow(command, line, timeout_s=timeout_s, env=_python_path())
    except Unavailable as error:
        told = _told(said)
        raise Unavailable(f'postbuild at "{entry.origin}" did not end within {timeout_s:g} s{told}') from error
    if not begun:
        raise Unavailable(f'postbuild at "{entry.origin}" could not be begun in the tree{_told(said)}')
    if place.loan.stat().st_size:
        proc.run_sync(contained(place.taking_back()), timeout_s=60, env=_python_path())
    if status != 0:
        raise CommandFailed(f'postbuild at "{entry.origin}" ended with status {status}{culprit}{_told(said)}')


def _culprit(entry: Entry, text: str) -> str:
    """Which command it was, and where it stands in the config if the line is known."""
    number, _, command = text.removeprefix(_TOLD).partition(" ")
    if len(command) > _COMMAND_LETTERS:
        command = f"{command[:_COMMAND_LETTERS]}..."
    line = int(number) if number.isdigit() else 0
    where = f" at line {entry.origin.line + line - 1}" if line else ""
    return f' in "{command}"{where}'


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(megatools.__file__).parents[1])}


def _told(said: list[str]) -> str:
    last = "\n".join(f"    {text}" for text in said[-_LAST_LINES:])
    return f", after saying:\n{last}" if last else ""


def shell(place: Workplace) -> tuple[list[str], dict[str, str]]:
    """The command and environment that become an interactive shell in the tree; it changes the upper folder only."""
    (place.folder / "script").unlink(missing_ok=True)
    return separated(place.command(["-i"])), proc.environment(_python_path())
