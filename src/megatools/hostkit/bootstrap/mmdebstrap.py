"""Drive mmdebstrap: a tree from a repository of checked packages, as one tar file.

The argument list is pure text; `bootstrap` runs it contained, so that nothing it started and nothing it mounted
outlives it. INITRD=No keeps initramfs-tools quiet: the image is the initrd.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.bootstrap.apt import MERGED, tells_no_space
from megatools.hostkit.bootstrap.sandbox import contained, follow
from megatools.hostkit.errors import CommandFailed, Unavailable

EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
# mmdebstrap lends the tree this host's name and resolver; they are no part of an image. Nor is our repository.
_FINISH = (
    'rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/*; '
    'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"; mkdir -p "$1/etc/apt/sources.list.d"'
)
# Right after the essential packages were unpacked, and before dpkg installs them. Given as --dpkgopt, mmdebstrap would
# have its own filter read every byte of them: most of the time of a small tree.
_EXCLUDE = (
    'mkdir -p "$1/etc/dpkg/dpkg.cfg.d"; '
    + f"printf 'path-exclude=%s\\n' {' '.join(map(repr, EXCLUDED))} > \"$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap\"; "
    + "; ".join(f'rm -rf "$1"{pattern}' for pattern in EXCLUDED)
)
# $0: where, $1: how many KiB at most; the mount is private to the build
_IN_MEMORY = 'mount -t tmpfs -o "mode=755,size=$1k" tmpfs "$0" && shift && exec "$@"'
_MEMORY_SHARE = 4  # the tree may take a quarter of the memory there is
_MEMORY_FLOOR_KIB = 1 << 18  # packages from elsewhere do not always say how large they are
_LAST_LINES = 10
_VERSION = re.compile(rb"^our \$VERSION = '([0-9][0-9.]*)';$", re.M)
_HEAD = 4096
_STEP = re.compile(r"(Unpacking|Setting up) \S+ \(")


class Request(msgspec.Struct, frozen=True):
    """What to install: packages of a repository (a folder `write_repository` made) for a suite and architecture.

    `sources` is what the tree's own apt is to use (deb822 text), `keyring` a file for it to be put at `keyring_inside`.
    The programs of a `foreign` architecture must be known to run.
    """

    suite: str
    packages: tuple[str, ...]
    architecture: str
    sources: str
    variant: str = "minbase"
    epoch: int = 0
    keyring: Path | None = None
    keyring_inside: str = ""
    foreign: bool = False


def argv(request: Request, target: Path, repository: Path, sources: Path, program: str = "mmdebstrap") -> list[str]:
    """The command; `sources` is a file with the request's text of that name, `program` mmdebstrap itself."""
    words = [program, "--mode=root", "--format=tar", f"--variant={request.variant}", "--verbose"]
    words.append(f"--architectures={request.architecture}")
    if request.packages:
        words.append(f"--include={','.join(request.packages)}")
    if MERGED in request.packages:
        words.append("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
    words += ['--aptopt=APT::Sandbox::User "root"', f"--customize-hook={_FINISH}"]
    words.append(f"--customize-hook=upload {_hook_word(sources)} /etc/apt/sources.list.d/image.sources")
    if request.keyring is not None:
        inside = request.keyring_inside
        words.append(f'--customize-hook=mkdir -p "$1{inside.rpartition("/")[0]}"')
        words.append(f"--customize-hook=upload {_hook_word(request.keyring)} {inside}")
        words.append(f'--customize-hook=chmod 644 "$1{inside}"')
    if request.foreign:
        words.append("--skip=check/qemu")
    words.append(f"--extract-hook={_EXCLUDE}")
    archive = f"deb [trusted=yes] copy:{quote(str(repository))} {request.suite} main"
    return [*words, request.suite, str(target), archive]


def _hook_word(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def version() -> str:
    """Which mmdebstrap this is; raises NotFound when it is absent.

    Read from the program's text where it says so, as it does when it runs: starting Perl for that takes a fifth of the
    time of a build in which nothing has changed.
    """
    path = proc.which("mmdebstrap")
    if path is not None:
        with path.open("rb") as stream:
            found = _VERSION.search(stream.read(_HEAD))
        if found is not None:
            return f"mmdebstrap {found[1].decode()}"
    done = proc.run_sync(["mmdebstrap", "--version"], timeout_s=30)
    return (done.stdout + done.stderr).decode(errors="replace").strip()


def bootstrap(
    request: Request,
    target: Path,
    *,
    repository: Path,
    workspace: Path,
    line: Callable[[str], None],
    memory_kib: int = 0,
    timeout_s: float = 3600,
) -> None:
    """Make `target`, a plain tar; `line` gets what is printed.

    `memory_kib` says about how large the tree will be: it is made in memory where there is plenty of that, and on disk
    when it proves to be much larger. Raises CommandFailed, Unavailable (too slow, no space).
    """
    sources = workspace / "image.sources"
    sources.write_text(request.sources)
    place = workspace / "place"
    place.mkdir()
    environment = {"INITRD": "No", "TMPDIR": str(place), "SOURCE_DATE_EPOCH": str(request.epoch)}
    command = argv(request, target, repository, sources)
    tries = [command]
    if memory_kib and memory_kib * _MEMORY_SHARE < available_kib():
        limit = max(memory_kib * 2, _MEMORY_FLOOR_KIB)
        tries.insert(0, ["sh", "-c", _IN_MEMORY, str(place), str(limit), *command])
    for words in tries:
        said: list[str] = []

        def keep(text: str, said: list[str] = said) -> None:
            said.append(text)
            line(text)

        if follow(contained(words), keep, timeout_s=timeout_s, env=environment, name="mmdebstrap") == 0:
            return
        if not any(tells_no_space(text) for text in said):
            raise CommandFailed(failure(said, "mmdebstrap"))
    raise Unavailable(f'no space is left in "{workspace}" for the tree')


def available_kib() -> int:
    """How much memory may be used without swapping; 0 when the kernel does not say."""
    match = re.search(r"^MemAvailable: *(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(match[1]) if match else 0


def failure(said: list[str], program: str) -> str:
    """Why a bootstrap failed, from what it printed: the first error, and the last lines that are no mere news."""
    told = next((text.strip() for text in said if text.startswith(("E:", "dpkg: error"))), "")
    last = "\n".join(f"    {text}" for text in said if not text.startswith("I:"))
    return f'"{program}" failed{": " if told else ""}{told}, after saying:\n' + "\n".join(
        last.splitlines()[-_LAST_LINES:]
    )


def is_step(text: str) -> bool:
    """Whether a line says that a package was unpacked or set up: two for each package, about."""
    return bool(_STEP.match(text))
