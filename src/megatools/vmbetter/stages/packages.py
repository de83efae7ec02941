"""First stage: a Debian tree with the packages asked for.

Called by the builder. Two steps: `locked` says which packages in which versions (from the lock, or from the archive),
`make` turns a lock into the tree's tar, from the packages in the cache alone. So a build from a lock needs no network,
and one that has just asked the archive gives the same bytes.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from megatools.hostkit.bootstrap import apt, debootstrap, debs, mmdebstrap
from megatools.hostkit.bootstrap.apt import Apt, Offer
from megatools.hostkit.bootstrap.sandbox import is_rootless
from megatools.hostkit.bootstrap.sources import Archive, host_sources, host_suite
from megatools.hostkit.errors import Corrupt, InvalidInput, NotFound, PermissionDenied
from megatools.vmbetter.cache import Cache, key_of
from megatools.vmbetter.events import Reporter
from megatools.vmbetter.lock import Lock

FORMAT = 4
STAGE = "packages"
ENGINES = ("mmdebstrap", "debootstrap")
_KEYRINGS = Path("/usr/share/keyrings")


class Request(msgspec.Struct, frozen=True):
    """What to ask for; `archives` say where packages are, `local` are folders of .deb files."""

    suite: str
    architecture: str
    packages: tuple[str, ...]
    archives: tuple[Archive, ...]
    local: tuple[Path, ...] = ()
    engine: str = "mmdebstrap"
    extra: tuple[str, ...] = ()

    def sources(self) -> str:
        """What the image's own apt is to use."""
        return "\n".join(archive.text() for archive in self.archives)


class Source(msgspec.Struct, frozen=True):
    """Where packages come from, as options say; empty fields stand for this host's."""

    suite: str = ""
    mirror: str = ""
    components: tuple[str, ...] = ()
    keyring: Path | None = None
    architecture: str = ""
    local: tuple[Path, ...] = ()
    engine: str = "mmdebstrap"
    extra: tuple[str, ...] = ()  # further words for debootstrap


def request(packages: tuple[str, ...], source: Source) -> Request:
    """The request for packages. Raises InvalidInput, NotFound, Unavailable when options lead nowhere."""
    if source.engine not in ENGINES:
        raise InvalidInput(f'engine "{source.engine}" is neither {" nor ".join(ENGINES)}')
    if source.extra and source.engine != "debootstrap":
        raise InvalidInput("words for debootstrap need that engine", hint="add --engine debootstrap")
    if source.keyring is not None and not source.keyring.is_file():
        raise NotFound(f'no keyring "{source.keyring}"')
    for folder in source.local:
        if not folder.is_dir():
            raise NotFound(f'no folder "{folder}" of packages')
    suite = source.suite or host_suite()
    if source.mirror:
        archives = [Archive((source.mirror,), (suite,), source.components or ("main",), signed_by=_keyring(source))]
    else:
        archives = host_sources(suite)
        if source.components:
            archives = [msgspec.structs.replace(one, components=source.components) for one in archives]
        if source.keyring is not None:
            archives = [msgspec.structs.replace(one, signed_by=str(source.keyring.resolve())) for one in archives]
    architecture = source.architecture or apt.native_architecture()
    local = tuple(folder.resolve() for folder in source.local)
    return Request(suite, architecture, tuple(sorted(packages)), tuple(archives), local, source.engine, source.extra)


def _keyring(source: Source) -> str:
    if source.keyring is not None:
        return str(source.keyring.resolve())
    known = "ubuntu" if "ubuntu" in source.mirror else "debian"
    path = _KEYRINGS / f"{known}-archive-keyring.gpg"
    return str(path) if path.is_file() else ""


def local_digests(wanted: Request) -> tuple[str, ...]:
    """The content of the local packages, for the lock."""
    return tuple(sorted(debs.sha256(path) for folder in wanted.local for path in folder.glob("*.deb")))


def resolve(wanted: Request, cache: Cache, workspace: Path, reporter: Reporter) -> Lock:
    """Ask the archive which packages there are now, and fetch those the cache has not. Raises as `Apt` does."""
    asking = _apt(wanted, cache, workspace)
    reporter.step(STAGE, f'asking the sources of "{wanted.suite}" for their lists')
    asking.update(lambda text: reporter.output(STAGE, text))
    offers = asking.resolve(wanted.packages)
    lend_known(cache, asking, offers)
    megabytes = sum(offer.size for offer in offers) / 1e6
    reporter.step(STAGE, f"fetching {len(offers)} packages, {megabytes:.0f} MB, where the cache has them not")
    folder = asking.download(wanted.packages, lambda percent: reporter.count(STAGE, int(percent), 100))
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


def key(lock: Lock, wanted: Request, *, epoch: int) -> str:
    """The key of this stage."""
    version = mmdebstrap.version() if wanted.engine == "mmdebstrap" else debootstrap.version()
    return key_of(
        STAGE, FORMAT, lock.digest(), mmdebstrap.EXCLUDED, wanted.engine, wanted.extra, version, wanted.sources(), epoch
    )


def make(lock: Lock, wanted: Request, cache: Cache, workspace: Path, reporter: Reporter, *, epoch: int) -> Path:
    """The tree's tar (plain), in the workspace, from a lock whose packages are in the cache."""
    if wanted.engine == "debootstrap" and is_rootless():
        raise PermissionDenied("debootstrap needs root", hint="run with sudo, or use the engine mmdebstrap")
    repository, target = workspace / "repository", workspace / "tree.tar"
    files = [(_sound(cache, offer), offer.sha256, offer.priority) for offer in lock.packages]
    debs.write_repository(repository, files, suite=lock.suite, architecture=lock.architecture)
    names = tuple(dict.fromkeys(word.partition("/")[0].partition("=")[0] for word in lock.wanted))
    if any(offer.name == apt.MERGED for offer in lock.packages):
        names = (*names, apt.MERGED)
    todo = mmdebstrap.Request(lock.suite, names, lock.architecture, wanted.sources(), epoch=epoch)
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
