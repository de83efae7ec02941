"""Package sources: those apt is configured with on this host, cut down to one Debian suite.

Pure text here, except `host_sources`, which reads /etc/apt. Only fields that say where packages are and which key
signs them are taken over: `Trusted: yes` and its like never are, so that the archive's keys are always checked.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from megatools.hostkit.errors import Unavailable

_POCKETS = ("", "-updates", "-security")
_UBUNTU = frozenset(
    "trusty utopic vivid wily xenial yakkety zesty artful bionic cosmic disco eoan focal groovy hirsute impish jammy"
    " kinetic lunar mantic noble oracular plucky questing resolute".split()
)


class Archive(msgspec.Struct, frozen=True):
    """One source: lists as apt has them; `signed_by` is a path, an armoured key, or empty (apt's own keys)."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    architectures: tuple[str, ...] = ()
    signed_by: str = ""

    def text(self) -> str:
        """The deb822 stanza."""
        lines = ["Types: deb", f"URIs: {' '.join(self.uris)}", f"Suites: {' '.join(self.suites)}"]
        if self.components:
            lines.append(f"Components: {' '.join(self.components)}")
        if self.architectures:
            lines.append(f"Architectures: {' '.join(self.architectures)}")
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def parse_deb822(text: str) -> list[Archive]:
    """The enabled binary archives of a `.sources` file; what it says about trust is left out."""
    found: list[Archive] = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields = _fields(stanza)
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        if enabled and "deb" in fields.get("types", "").split():
            found.append(
                Archive(
                    tuple(fields.get("uris", "").split()),
                    tuple(fields.get("suites", "").split()),
                    tuple(fields.get("components", "").split()),
                    tuple(fields.get("architectures", "").split()),
                    fields.get("signed-by", ""),
                )
            )
    return found


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in (" ", "\t") and name:
            fields[name] += "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def parse_list(text: str) -> list[Archive]:
    """The binary archives of a one-line-style `.list` file."""
    found: list[Archive] = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)", line)
        if match is None:
            continue
        options = {word.partition("=")[0]: word.partition("=")[2] for word in str(match[1] or "").split()}
        found.append(
            Archive(
                (match[2],),
                (match[3],),
                tuple(match[4].split()),
                tuple(filter(None, options.get("arch", "").split(","))),
                options.get("signed-by", ""),
            )
        )
    return found


def for_suite(archives: list[Archive], host_suite: str, suite: str) -> list[Archive]:
    """The archives that carry the host's suite with its updates and security fixes, asked for another suite's."""
    wanted = {host_suite + pocket: suite + pocket for pocket in _POCKETS}
    found: list[Archive] = []
    for archive in archives:
        suites = tuple(wanted[name] for name in archive.suites if name in wanted)
        if suites:
            found.append(msgspec.structs.replace(archive, suites=suites))
    return found


def distribution(suite: str, mirror: str = "") -> str:
    """Whose suite it is, "debian" or "ubuntu": for the archive's keys, and to say so when a host has other sources."""
    return "ubuntu" if suite.partition("-")[0] in _UBUNTU or "ubuntu" in mirror else "debian"


def host_suite(root: Path = Path("/")) -> str:
    """The code name of the release this host runs; raises Unavailable when it does not say."""
    try:
        match = re.search(r'^VERSION_CODENAME="?([a-z0-9-]+)', (root / "etc/os-release").read_text(), re.MULTILINE)
    except OSError as error:
        raise Unavailable('cannot read "/etc/os-release"', hint="name a suite with --branch") from error
    if match is None:
        raise Unavailable("this host's release has no code name", hint="name a suite with --branch and --mirror")
    return match[1]


def host_sources(suite: str, root: Path = Path("/")) -> list[Archive]:
    """The host's archives for a suite. Raises Unavailable when it has none."""
    here, there = distribution(host_suite(root)), distribution(suite)
    if here != there:
        text = f'"{suite}" is a suite of {there.title()}, this host has package sources of {here.title()}'
        raise Unavailable(text, hint=f"name an archive of {there.title()} with --mirror, its keys with --keyring")
    folder = root / "etc/apt"
    archives: list[Archive] = []
    for path in sorted([*folder.glob("sources.list"), *folder.glob("sources.list.d/*")]):
        if path.suffix == ".sources":
            archives += parse_deb822(path.read_text())
        elif path.suffix == ".list":
            archives += parse_list(path.read_text())
    found = for_suite(archives, host_suite(root), suite)
    if not found:
        raise Unavailable(f'this host has no package source for "{suite}"', hint="name one with --mirror")
    return found
