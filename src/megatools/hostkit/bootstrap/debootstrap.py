"""Drive debootstrap: a tree from a repository of checked packages; for those who want the classic program.

Needs root: it makes device nodes. Its own resolver is not asked: all packages are named.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from megatools.hostkit import proc
from megatools.hostkit.bootstrap.mmdebstrap import EXCLUDED, Request, failure
from megatools.hostkit.bootstrap.sandbox import contained, follow
from megatools.hostkit.errors import CommandFailed

_SCRIPTS = Path("/usr/share/debootstrap/scripts")
_USUAL_SCRIPT = "sid"  # for suites it does not know
# $1: the tree, $2: the sources of the image, $3 and $4: keys for them and where they go (or empty), the rest:
# what to forget, as the other engine does
_FINISH = """
set -e
tree=$1 sources=$2 keys=$3 place=$4; shift 4
cd "$tree"
rm -f etc/hostname etc/resolv.conf etc/apt/sources.list etc/apt/sources.list.d/* var/cache/apt/archives/*.deb
rm -f var/cache/apt/*.bin var/log/bootstrap.log var/log/dpkg.log var/log/alternatives.log var/log/apt/*
rm -f var/cache/ldconfig/aux-cache
rm -rf debootstrap var/lib/apt/lists/*_* var/cache/debconf/*-old var/lib/dpkg/*-old "$@"
mkdir -p etc/apt/sources.list.d
cp "$sources" etc/apt/sources.list.d/image.sources
[ -z "$keys" ] || install -D -m 644 "$keys" ".$place"
"""


def argv(
    request: Request, folder: Path, repository: Path, names: tuple[str, ...], extra: tuple[str, ...] = ()
) -> list[str]:
    """The command; `names` are all packages of the repository, `request.packages` is not looked at."""
    words = ["debootstrap", f"--arch={request.architecture}", f"--variant={request.variant}", "--no-check-gpg"]
    words += [f"--include={','.join(names)}", "--components=main", *extra]
    words += [request.suite, str(folder), f"file://{quote(str(repository))}"]
    return words if (_SCRIPTS / request.suite).exists() else [*words, _USUAL_SCRIPT]


def version() -> str:
    """Which debootstrap this is; raises NotFound when it is absent."""
    return proc.run_sync(["debootstrap", "--version"], timeout_s=30).text.strip()


def bootstrap(
    request: Request,
    target: Path,
    *,
    repository: Path,
    workspace: Path,
    names: tuple[str, ...],
    extra: tuple[str, ...] = (),
    line: Callable[[str], None],
    timeout_s: float = 3600,
) -> None:
    """Make `target`, a plain tar. Raises CommandFailed, Unavailable (too slow)."""
    tree, sources = workspace / "debootstrap", workspace / "image.sources"
    tree.mkdir()
    sources.write_text(request.sources)
    said: list[str] = []

    def keep(text: str) -> None:
        said.append(text)
        line(text)

    environment = {"INITRD": "No", "SOURCE_DATE_EPOCH": str(request.epoch), "DEBIAN_FRONTEND": "noninteractive"}
    if (
        follow(
            contained(argv(request, tree, repository, names, extra)),
            keep,
            timeout_s=timeout_s,
            env=environment,
            name="debootstrap",
        )
        != 0
    ):
        log = tree / "debootstrap/debootstrap.log"
        said += log.read_text(errors="replace").splitlines()[-8:] if log.is_file() else []
        raise CommandFailed(failure(said, "debootstrap"))
    forgotten = [pattern.strip("/").removesuffix("/*") for pattern in EXCLUDED]
    keys = [str(request.keyring or ""), request.keyring_inside]
    proc.run_sync(["sh", "-c", _FINISH, "finish", str(tree), str(sources), *keys, *forgotten], timeout_s=300)
    dates = [f"--mtime=@{request.epoch}", "--clamp-mtime", "--pax-option=delete=atime,delete=ctime"]
    words = ["tar", "-c", "--format=posix", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", *dates]
    proc.run_sync([*words, "-f", str(target), "-C", str(tree), "."], timeout_s=1800)
