"""Options that several commands have: where packages come from, and what `// +build` asks for.

Called by the entry point and the commands; their values come in the order of the names in `SOURCE`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from megatools.vmbetter.config.merge import DEFAULT_CONSTRAINTS
from megatools.vmbetter.stages.request import ENGINES, Source

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path)
_Command = TypeVar("_Command", bound=Callable[..., None])

SOURCE = (
    click.option("-branch", "--branch", "--suite", "suite", default="", metavar="SUITE", help="default: this host's"),
    click.option(
        "-mirror", "--mirror", default="", metavar="URL", help="archive, or a folder (default: host's sources)"
    ),
    click.option("--components", default="", metavar="A,B", help="of the archive (default: main, or as on this host)"),
    click.option("--keyring", type=FILE, help="the archive's keys (default: the distribution's on this host)"),
    click.option(
        "--architecture", default="", metavar="ARCH", help="default: this host's; others need qemu-user-static"
    ),
    click.option(
        "--debs", type=FOLDER, multiple=True, metavar="DIR", help="a folder of .deb files to choose from, too"
    ),
    click.option("--engine", type=click.Choice(ENGINES), default=ENGINES[0], help=f"default: {ENGINES[0]}"),
    click.option("-debootstrap-append", default="", hidden=True),
    click.option("--lock", type=FILE, help="lock file to build from (default: NAME.lock, when there is one)"),
    click.option(
        "-constraints",
        "--constraints",
        default="",
        metavar="A,B",
        help="what // +build asks for (default: debian,amd64)",
    ),
)


class Where(msgspec.Struct, frozen=True):
    """The options' values, whole."""

    source: Source
    lock: Path | None
    constraints: frozenset[str]


def with_source(command: _Command) -> _Command:
    """Give a command the options; its parameters have their names."""
    for option in reversed(SOURCE):
        command = option(command)
    return command


def where(
    suite: str, mirror: str, components: str, keyring: Path | None, architecture: str, debs: tuple[Path, ...],
    engine: str, debootstrap_append: str, lock: Path | None, constraints: str,
) -> Where:  # fmt: skip
    """What the options say."""
    words, extra = tuple(components.replace(",", " ").split()), tuple(debootstrap_append.split())
    source = Source(suite, mirror, words, keyring, architecture, debs, engine, extra)
    given = frozenset(constraints.replace(",", " ").split())
    usual = (DEFAULT_CONSTRAINTS - {"amd64"}) | {architecture} if architecture else DEFAULT_CONSTRAINTS
    return Where(source, lock, given or usual)
