"""Where packages come from, as options say it, checked and made whole from what this host has.

Called by the packages stage and the command line. Whose keys an archive's lists must be signed with follows from the
suite's distribution, unless a keyring is named; that one is put into the image too, for its own apt.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from megatools.hostkit.bootstrap import apt
from megatools.hostkit.bootstrap.sources import Archive, distribution, host_sources, host_suite
from megatools.hostkit.errors import InvalidInput, NotFound

ENGINES = ("mmdebstrap", "debootstrap")
KEYRINGS = Path("/usr/share/keyrings")
_KEYS_IN_IMAGE = "/etc/apt/keyrings/image"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_/-]*\Z")
_URL = re.compile(r"[a-z][a-z0-9+]*:/\S+\Z")


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


class Request(msgspec.Struct, frozen=True):
    """What to ask for; `archives` say where packages are, `local` are folders of .deb files."""

    suite: str
    architecture: str
    packages: tuple[str, ...]
    archives: tuple[Archive, ...]
    local: tuple[Path, ...] = ()
    engine: str = "mmdebstrap"
    extra: tuple[str, ...] = ()
    keyring: Path | None = None  # the one that was named

    def sources(self) -> str:
        """What the image's own apt is to use."""
        archives = self.archives
        if self.keyring is not None:
            inside = image_keyring(self.keyring)
            archives = tuple(msgspec.structs.replace(one, signed_by=inside) for one in archives)
        return "\n".join(archive.text() for archive in archives)


def image_keyring(keyring: Path) -> str:
    """Where a named keyring is in the image; apt tells armoured keys by their suffix."""
    return f"{_KEYS_IN_IMAGE}{'.asc' if keyring.suffix == '.asc' else '.gpg'}"


def request(packages: tuple[str, ...], source: Source) -> Request:
    """The request for packages. Raises InvalidInput, NotFound, Unavailable when options lead nowhere."""
    _check(source)
    suite = source.suite or host_suite()
    architecture = source.architecture or apt.native_architecture()
    keyring = source.keyring.resolve() if source.keyring is not None else None
    if source.mirror:
        keys = str(keyring or _keyring(suite, source.mirror))
        archives = [Archive((_url(source.mirror),), (suite,), source.components or ("main",), signed_by=keys)]
    else:
        archives = host_sources(suite)
        if source.components:
            archives = [msgspec.structs.replace(one, components=source.components) for one in archives]
        if keyring is not None:
            archives = [msgspec.structs.replace(one, signed_by=str(keyring)) for one in archives]
        if source.architecture:  # what the host itself takes from its archives does not matter
            archives = [msgspec.structs.replace(one, architectures=()) for one in archives]
    local = tuple(folder.resolve() for folder in source.local)
    return Request(
        suite, architecture, tuple(sorted(packages)), tuple(archives), local, source.engine, source.extra, keyring
    )


def _check(source: Source) -> None:
    if source.engine not in ENGINES:
        raise InvalidInput(f'engine "{source.engine}" is neither {" nor ".join(ENGINES)}')
    if source.extra and source.engine != "debootstrap":
        raise InvalidInput("words for debootstrap need that engine", hint="add --engine debootstrap")
    words = [("suite", source.suite), ("architecture", source.architecture)]
    for what, word in [*words, *(("component", one) for one in source.components)]:
        if word and not _WORD.match(word):
            raise InvalidInput(f'"{word}" is no name of a {what}'.replace("a arch", "an arch"))
    if source.keyring is not None and not source.keyring.is_file():
        raise NotFound(f'no keyring "{source.keyring}"')
    for folder in source.local:
        if not folder.is_dir():
            raise NotFound(f'no folder "{folder}" of packages')


def _url(mirror: str) -> str:
    """A mirror's URL; a folder of this host stands for its own. Raises InvalidInput."""
    if Path(mirror).is_dir():
        return Path(mirror).resolve().as_uri()
    if not _URL.match(mirror):
        raise InvalidInput(f'mirror "{mirror}" is neither a URL nor a folder', hint="as in --mirror http://HOST/debian")
    return mirror


def _keyring(suite: str, mirror: str) -> str:
    """The keys of a suite's distribution on this host; empty for apt's own. Raises NotFound for Ubuntu's."""
    whose = distribution(suite, mirror)
    path = KEYRINGS / f"{whose}-archive-keyring.gpg"
    if path.is_file():
        return str(path)
    if whose == "debian":
        return ""
    hint = f"install the package {whose}-keyring where there is one, or name the file of its keys with --keyring"
    raise NotFound(f'the keys of {whose.title()} are not on this host ("{path}")', hint=hint)
