"""Drive apt in folders of its own: which packages a suite offers for a wish, and their files, checked.

Called by vmbetter's first stage. Needs no root and changes nothing of this host's apt. Signatures are always checked;
only folders of local packages, which the user named, are taken as they are.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.bootstrap import debs
from megatools.hostkit.bootstrap.sandbox import follow, tied
from megatools.hostkit.bootstrap.sources import Archive
from megatools.hostkit.errors import (
    CommandFailed,
    Corrupt,
    InvalidInput,
    MegaError,
    NotFound,
    PermissionDenied,
    Unavailable,
)

# What says how archives are reached, and for how long their lists are good; nothing that weakens the check of keys
_HOST_OPTIONS = ("Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy")
MERGED = "usr-is-merged"  # says that /bin and its like are links into /usr from the beginning; bookworm and its time
_MISSING = re.compile(r"Unable to locate package (\S+)|Package '?([^' ]+)'? has no installation candidate")
_NETWORK = re.compile(
    r"Could not resolve|Could not connect|Temporary failure|Connection failed|Unable to connect|Network is unreachable"
)
_NO_SUITE = re.compile(r"The repository '(?:copy:)?(\S+) (\S+) Release' does not have a Release file")
_NO_COMPONENT = re.compile(r"repository '(?:copy:)?(\S+) .*doesn't have the component '([^']+)'")
_OTHER_CONTENT = re.compile(r"Failed to fetch (\S+) .*(?:Hash Sum mismatch|File has unexpected size)")
_VIRTUAL = re.compile(r"^Package (\S+) is a virtual package provided by:\n((?:  .*\n)+)", re.MULTILINE)
_UNMET = re.compile(r"^ \S+ : \S*Depends: |^ +\S*(?:Depends|Breaks|Conflicts): |^ \S+ : (?:Breaks|Conflicts): ")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_GONE = re.compile(r"Version '([^']+)' for '([^']+)' was not found")
_URI = re.compile(r"^'[^']+' (\S+)_(\S+)_(\S+)\.deb \d+", re.MULTILINE)
_PROGRESS = re.compile(r"dlstatus:\d+:([0-9.]+):")


class Offer(msgspec.Struct, frozen=True):
    """One package that is to be installed; `file` is apt's name for it, sizes are in bytes and KiB."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    installed_kib: int
    priority: str

    @property
    def file(self) -> str:
        """The name apt gives the file."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


class MissingPackages(InvalidInput):
    """Packages that no source has, or several have under this name; `names` says which.

    `near` is what comes closest to each, `providers` are the packages that a virtual one stands for.
    """

    def __init__(self, names: list[str], near: dict[str, str], providers: dict[str, list[str]] | None = None) -> None:
        virtual = providers or {}
        quoted = ", ".join(f'"{name}"' for name in names if name not in virtual)
        told = [f"no package {quoted} in the sources"] if quoted else []
        told += [f'"{name}" is no package but a name for one of {", ".join(virtual[name])}' for name in virtual]
        hints = " and ".join(f'"{near[name]}"' for name in names if name in near)
        hint = f"did you mean {hints}?" if hints else "name the one you want" if virtual else ""
        super().__init__("; ".join(told), hint=hint)
        self.names = names


class Apt:
    """A private apt for one suite and architecture, in one folder that may be kept."""

    def __init__(self, folder: Path, archives: list[Archive], *, architecture: str, local: list[Path]) -> None:
        self.folder = folder
        self._architecture = architecture
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "state/status").write_text("")
        private = [_own(archive, folder) for archive in archives]
        stanzas = [archive.text() for archive in private]
        stanzas += [f"Types: deb\nURIs: copy:{quote(str(path))}\nSuites: ./\nTrusted: yes\n" for path in local]
        (folder / "wanted.sources").write_text("\n".join(stanzas))
        files = any(uri.startswith("copy:") for archive in private for uri in archive.uris)
        unsafe = files or not _reachable(folder)
        (folder / "apt.conf").write_text(_settings(folder, architecture, as_root=unsafe))
        proxies = {name: os.environ[name] for name in _PROXIES if name in os.environ}
        self.environment = {"APT_CONFIG": str(folder / "apt.conf"), **proxies}

    def update(self, line: Callable[[str], None]) -> None:
        """Fetch the lists.

        Raises Unavailable (no network), PermissionDenied (a key), NotFound (suite, component), CommandFailed.
        """
        said = self._run(["update", "-o", "APT::Update::Error-Mode=any"], line, timeout_s=900)
        lacking = [text for text in said if _NO_COMPONENT.search(text)]
        if found := trouble("\n".join(lacking)):  # no error for apt
            raise found

    def resolve(self, packages: tuple[str, ...]) -> list[Offer]:
        """All that a small system with these packages consists of, by name. Raises MissingPackages and others."""
        nothing = self.folder / "nothing"  # files that are there, from a build that was killed, would not be named
        (nothing / "partial").mkdir(parents=True, exist_ok=True)
        words = ["apt-get", "install", "-q", "-y", "--print-uris", "-o", f"Dir::Cache::archives={nothing}"]
        words += [*self._base(), *packages]
        done = proc.run_sync(words, timeout_s=300, check=False, env=self.environment)
        if done.status != 0:
            raise self.reason((done.stdout + done.stderr).decode(errors="replace").splitlines())
        chosen = [(match[1], unquote(match[2]), match[3]) for match in _URI.finditer(done.text)]
        return self._offers(chosen)

    def _base(self) -> list[str]:
        """What each tree has; the package MERGED instead of the much larger program that merges an old tree."""
        known = proc.run_sync(["apt-cache", "pkgnames", MERGED], timeout_s=120, env=self.environment).text.split()
        return ["?essential", "?priority(required)", "apt", *([MERGED] if MERGED in known else [])]

    def _offers(self, chosen: list[tuple[str, str, str]]) -> list[Offer]:
        words = ["apt-cache", "show", *(f"{name}={version}" for name, version, _ in chosen)]
        text = proc.run_sync(words, timeout_s=300, env=self.environment).text
        found: dict[tuple[str, str], Offer] = {}
        for stanza in text.split("\n\n"):
            field = debs.fields(stanza)
            if not field.get("package"):
                continue
            offer = Offer(
                field["package"], field["version"], field["architecture"], field["sha256"], int(field["size"]),
                int(field.get("installed-size", "0")), field.get("priority", ""),
            )  # fmt: skip
            if (offer.name, offer.version, offer.architecture) in set(chosen):
                found[offer.name, offer.architecture] = offer
        return [found[key] for key in sorted(found)]

    def download(self, packages: tuple[str, ...], progress: Callable[[float], None]) -> Path:
        """Fetch what `resolve` (given the same) named, or the exact versions given; the folder the files are in.

        Files that are there already are checked, not fetched. `progress` is told percents.
        """

        def line(text: str) -> None:
            match = _PROGRESS.match(text)
            if match:
                progress(float(match[1]))

        words = ["install", "-y", "--download-only", "-o", "APT::Status-Fd=1", *self._base(), *packages]
        self._run(words, line, timeout_s=7200)
        return self.folder / "cache/archives"

    def download_exactly(self, wanted: list[Offer], line: Callable[[str], None]) -> Path:
        """Fetch just these versions, whatever they depend on.

        Raises MissingPackages or NotFound when the archive has them no more.
        """
        folder = self.folder / "cache/archives"
        words = [f"{offer.name}:{offer.architecture}={offer.version}" for offer in wanted]
        self._run(["download", *words], line, timeout_s=7200, directory=folder)
        return folder

    def _run(
        self, words: list[str], line: Callable[[str], None], *, timeout_s: float, directory: Path | None = None
    ) -> list[str]:
        said: list[str] = []

        def keep(text: str) -> None:
            said.append(text)
            line(text)

        command = tied(["apt-get", "-q", *words])
        status = follow(command, keep, timeout_s=timeout_s, env=self.environment, directory=directory, name="apt-get")
        if status != 0:
            raise self.reason(said)
        return said

    def reason(self, said: list[str]) -> MegaError:
        """Why apt failed, from what it said."""
        output = "\n".join(said)
        missing = list(dict.fromkeys(match[1] or match[2] for match in _MISSING.finditer(output)))
        if "apt" in missing:
            return NotFound(f'the sources have no system for architecture "{self._architecture}"')
        if missing:
            virtual = providers(output)
            near = self._nearest([name for name in missing if name not in virtual])
            return MissingPackages(missing, near, {name: virtual[name] for name in missing if name in virtual})
        if tells_no_space(output):
            return Unavailable(f'no space is left in "{self.folder}"')
        return trouble(output) or CommandFailed("apt: " + (_why(said) or "; ".join(said[-4:])))

    def _nearest(self, missing: list[str]) -> dict[str, str]:
        names = proc.run_sync(["apt-cache", "pkgnames"], timeout_s=120, env=self.environment, check=False).text.split()
        near: dict[str, str] = {}
        for name in missing:
            alike = difflib.get_close_matches(name, names, 1, 0.75)
            if alike:
                near[name] = alike[0]
        return near


def providers(output: str) -> dict[str, list[str]]:
    """The virtual packages that apt would not choose for, each with those that it says provide it."""
    found: dict[str, list[str]] = {}
    for match in _VIRTUAL.finditer(output):
        found[match[1]] = list(dict.fromkeys(line.split()[0] for line in match[2].splitlines()))
    return found


def _why(said: list[str]) -> str:
    """What apt says went wrong: its errors, and what each package lacks."""
    unmet = [f"    {text.strip()}" for text in said if _UNMET.match(text)]
    return "; ".join(_told(said)) + ("\n" + "\n".join(unmet) if unmet else "")


def versions() -> list[str]:
    """Which apt and dpkg this host has, for keys: mmdebstrap works with them."""
    words = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n", "apt", "dpkg"]
    return proc.run_sync(words, timeout_s=30, check=False).text.splitlines()


def _told(said: list[str]) -> list[str]:
    return [text for text in said if text.startswith(("E:", "Err:"))][-6:]


def trouble(output: str) -> MegaError | None:
    """What apt's output says about the archive or the way to it; None when nothing that is known."""
    if _NETWORK.search(output):
        return Unavailable("the package sources cannot be reached", hint="check the network, or name a --mirror")
    if "NO_PUBKEY" in output or "not signed" in output:
        text = f"the archive's signature cannot be checked: {'; '.join(_told(output.splitlines()))}"
        return PermissionDenied(text, hint="name the file of its keys with --keyring")
    if match := _NO_SUITE.search(output):
        return NotFound(f'"{match[1]}" has no suite "{match[2]}"', hint="check --mirror and --suite")
    if match := _NO_COMPONENT.search(output):
        return NotFound(f'"{match[1]}" has no component "{match[2]}"', hint="check --components")
    if match := _OTHER_CONTENT.search(output):
        hint = "the archive is being updated, or something on the way changes files: try again later"
        return Corrupt(f'"{match[1]}" has another content than the archive announces', hint=hint)
    if match := _GONE.search(output):
        return NotFound(f'the sources have no "{match[2]}" {match[1]} any more', hint="lock anew with --update")
    return None


def _own(archive: Archive, folder: Path) -> Archive:
    """The same archive for a private apt: keys where its user can read them, files of this host fetched like others."""
    uris = tuple(f"copy:{uri.removeprefix('file:')}" if uri.startswith("file:") else uri for uri in archive.uris)
    keys = archive.signed_by
    if keys.startswith("/"):
        data = Path(keys).read_bytes()
        kept = folder / f"keys-{hashlib.sha256(data).hexdigest()[:16]}{Path(keys).suffix}"
        kept.write_bytes(data)
        kept.chmod(0o644)
        keys = str(kept)
    return msgspec.structs.replace(archive, uris=uris, signed_by=keys)


def _reachable(folder: Path) -> bool:
    """Whether every user can reach a folder: apt fetches as one without rights of its own."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.resolve().parents))


def tells_no_space(output: str) -> bool:
    """Whether a program's output says that a disk is full."""
    return "No space left on device" in output or "You don't have enough free space" in output


def native_architecture() -> str:
    """Debian's name for what this host runs. Raises NotFound where there is no dpkg."""
    return proc.run_sync(["dpkg", "--print-architecture"], timeout_s=30).text.strip()


def host_options() -> tuple[str, ...]:
    """Apt settings of this host that a build needs too (proxies, snapshot archives)."""
    done = proc.run_sync(["apt-config", "dump", *_HOST_OPTIONS], timeout_s=30)
    return tuple(
        f'{match[1]} "{match[2]}"'
        for match in re.finditer(r'^(\S+) "([^"]+)";$', done.text, re.MULTILINE)
        if match[1] in _HOST_OPTIONS
    )


def _settings(folder: Path, architecture: str, *, as_root: bool) -> str:
    """Apt's configuration: nothing of /etc/apt but how archives are reached."""
    nothing = "".join(
        f'Dir::Etc::{name} "/dev/null";\n'
        for name in ("main", "parts", "sourceparts", "preferences", "preferencesparts")
    )
    return f"""Dir::State "{folder}/state";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/wanted.sources";
{nothing}APT::Architecture "{architecture}";
APT::Architectures "{architecture}";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Binary::apt-get::APT::Keep-Downloaded-Packages "true";
{'APT::Sandbox::User "root";' if as_root else ""}
""" + "".join(f"{option};\n" for option in host_options())
