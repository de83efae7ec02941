"""First stage: a Debian tree with the packages asked for.

Called by the builder. Two steps: `locked` says which packages in which versions (from the lock, or from the archive),
`make` turns a lock into the tree's tar, from the packages in the cache alone. So a build from a lock needs no network,
and one that has just asked the archive gives the same bytes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from pathlib import Path

from megatools.hostkit.bootstrap import apt, debootstrap, debs, emulation, mmdebstrap
from megatools.hostkit.bootstrap.apt import Apt, Offer
from megatools.hostkit.bootstrap.sandbox import is_rootless
from megatools.hostkit.errors import Corrupt, PermissionDenied
from megatools.vmbetter.cache import Cache, key_of
from megatools.vmbetter.events import Reporter
from megatools.vmbetter.lock import Lock
from megatools.vmbetter.stages.request import Request, image_keyring

FORMAT = 5
STAGE = "packages"


def local_digests(wanted: Request) -> tuple[str, ...]:
    """The content of the local packages, for the lock."""
    return tuple(sorted(debs.sha256(path) for folder in wanted.local for path in folder.glob("*.deb")))


def resolve(wanted: Request, cache: Cache, workspace: Path, reporter: Reporter) -> Lock:
    """Ask the archive which packages there are now, and fetch those the cache has not. Raises as `Apt` does."""
    emulation.check(wanted.architecture)  # rather now than after the download
    asking = _apt(wanted, cache, workspace)
    reporter.step(STAGE, f'asking the sources of "{wanted.suite}" for their lists')
    asking.update(lambda text: reporter.output(STAGE, text))
    offers = asking.resolve(wanted.packages)
    lend_known(cache, asking, offers)
    megabytes = sum(offer.size for offer in offers) / 1e6
    reporter.step(STAGE, f"fetching {len(offers)} packages, {megabytes:.0f} MB, where the cache has them not")
    folder = asking.download(wanted.packages, lambda percent: reporter.count(STAGE, int(percent), 100, "%"))
    keep(cache, folder, offers)
    lock = Lock(
        wanted.suite, wanted.architecture, wanted.packages, local_digests(wanted), int(time.time()), tuple(offers)
    )
    return lock


def fetch(lock: Lock, wanted: Request, cache: Cache, workspace: Path, reporter: Reporter) -> None:
    """Have all packages of a lock in the cache. Raises as `Apt` does when the archive has moved on."""
    absent = [offer for offer in lock.packages if not cache.package(offer.sha256).is_file()]
    if not absent:
        return
    reporter.step(STAGE, f"fetching {len(absent)} locked packages that the cache has not")
    asking = _apt(wanted, cache, workspace)
    asking.update(lambda text: reporter.output(STAGE, text))
    keep(cache, asking.download_exactly(absent, lambda text: reporter.output(STAGE, text)), absent)


def _apt(wanted: Request, cache: Cache, workspace: Path) -> Apt:
    folders: list[Path] = []
    for number, folder in enumerate(wanted.local):
        flat = workspace / f"local-{number}"
        flat.mkdir()
        stanzas = [_local_stanza(path, flat) for path in sorted(folder.glob("*.deb"))]
        (flat / "Packages").write_text("\n".join(stanzas))
        folders.append(flat)
    key = key_of(wanted.suite, wanted.architecture, wanted.archives)[:16]
    return Apt(cache.folder("apt", key), list(wanted.archives), architecture=wanted.architecture, local=folders)


def _local_stanza(path: Path, flat: Path) -> str:
    (flat / path.name).symlink_to(path)
    about = f"Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {debs.sha256(path)}\n"
    return f"{debs.control(path)}\n{about}"


def lend_known(cache: Cache, asking: Apt, offers: list[Offer]) -> None:
    """Put packages of the cache where apt looks; it checks them as it does what it fetches."""
    folder = asking.folder / "cache/archives"
    for offer in offers:
        have = cache.package(offer.sha256)
        if have.is_file() and not (folder / offer.file).exists():
            (folder / offer.file).hardlink_to(have)


def keep(cache: Cache, folder: Path, offers: list[Offer]) -> None:
    """Move fetched packages into the cache, by their content; whatever else was fetched goes."""
    for offer in offers:
        source, target = folder / offer.file, cache.package(offer.sha256)
        if target.is_file():
            continue
        if not source.is_file() or debs.sha256(source) != offer.sha256:
            raise Corrupt(f'package "{offer.name}" {offer.version} was fetched with another content than announced')
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    for path in folder.glob("*.deb"):
        path.unlink()


def mark_used(cache: Cache, lock: Lock) -> None:
    """Say that a lock's packages are in use: `cache prune` takes what was not for long."""
    for offer in lock.packages:
        with contextlib.suppress(FileNotFoundError):  # as somebody else's prune has it
            os.utime(cache.package(offer.sha256))


def key(lock: Lock, wanted: Request, *, epoch: int) -> str:
    """The key of this stage."""
    keys = debs.sha256(wanted.keyring) if wanted.keyring is not None else ""
    how = [STAGE, FORMAT, mmdebstrap.EXCLUDED, wanted.engine, wanted.extra, tools(wanted.engine), epoch]
    return key_of(lock.digest(), how, wanted.sources(), keys)


@functools.cache
def tools(engine: str) -> list[str]:
    """The programs that make the tree, with their versions."""
    return [mmdebstrap.version() if engine == "mmdebstrap" else debootstrap.version(), *apt.versions()]


def make(lock: Lock, wanted: Request, cache: Cache, workspace: Path, reporter: Reporter, *, epoch: int) -> Path:
    """The tree's tar (plain), in the workspace, from a lock whose packages are in the cache."""
    if wanted.engine == "debootstrap" and is_rootless():
        raise PermissionDenied("debootstrap needs root", hint="run with sudo, or use the engine mmdebstrap")
    emulation.check(lock.architecture)
    repository, target = workspace / "repository", workspace / "tree.tar"
    files = [(_sound(cache, offer), offer.sha256, offer.priority) for offer in lock.packages]
    debs.write_repository(repository, files, suite=lock.suite, architecture=lock.architecture)
    names = tuple(dict.fromkeys(word.partition("/")[0].partition("=")[0] for word in lock.wanted))
    if any(offer.name == apt.MERGED for offer in lock.packages):
        names = (*names, apt.MERGED)
    todo = mmdebstrap.Request(
        lock.suite, names, lock.architecture, wanted.sources(), epoch=epoch, keyring=wanted.keyring,
        keyring_inside=image_keyring(wanted.keyring) if wanted.keyring else "",
        foreign=lock.architecture != apt.native_architecture(),
    )  # fmt: skip
    steps = 0

    def line(text: str) -> None:
        nonlocal steps
        if mmdebstrap.is_step(text):
            steps += 1
            reporter.count(STAGE, min(steps // 2, len(lock.packages)), len(lock.packages))
        reporter.output(STAGE, text)

    if wanted.engine == "debootstrap":
        everything = tuple(offer.name for offer in lock.packages)
        debootstrap.bootstrap(
            todo, target, repository=repository, workspace=workspace, names=everything, extra=wanted.extra, line=line
        )
    else:
        needed = sum(offer.installed_kib + 2 * offer.size // 1024 for offer in lock.packages)
        mmdebstrap.bootstrap(todo, target, repository=repository, workspace=workspace, line=line, memory_kib=needed)
    return target


def _sound(cache: Cache, offer: Offer) -> Path:
    path = cache.package(offer.sha256)
    if debs.sha256(path) != offer.sha256:
        path.unlink()
        raise Corrupt(f'package "{offer.name}" in the cache is damaged; it was removed', hint="run the build again")
    return path
