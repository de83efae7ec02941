"""The `vmbetter` program: options, what people see, exit statuses.

Entry point only; all work is in the builder. Options have the original's spellings (one dash) beside ours (two).
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

import click
import msgspec

from megatools.hostkit.errors import InvalidInput, MegaError, Unavailable, user_text
from megatools.vmbetter.building import Options, build
from megatools.vmbetter.config.merge import DEFAULT_CONSTRAINTS, load
from megatools.vmbetter.config.recipe import text
from megatools.vmbetter.events import Event, Kind
from megatools.vmbetter.stages.packages import Source
from megatools.vmbetter.targets.registry import Wanted

# Options of the whole tool that this version does not have; those that take a value, and those that do not
_LATER_VALUES = tuple("-2 -mbr -isolinux -debootstrap-append --engine".split())
_LATER_SWITCHES = tuple("-1 --boot-test --update".split())
_GO_SWITCHES = ("-v", "-noclean", "-dry-run", "-disk", "-iso", "-rootfs", *_LATER_SWITCHES)
_LEVELS = ("debug", "info", "warn", "error", "fatal")
_F = TypeVar("_F", bound=Callable[..., object])


class _Journal:
    """Where lines go: standard error and, when one is given, a file."""

    def __init__(self, level: str, to_stderr: bool, logfile: Path | None) -> None:
        self._quiet = not to_stderr or level in ("error", "fatal")
        self._detailed = to_stderr and level == "debug"
        try:
            self._file = logfile.open("a") if logfile else None
        except OSError as error:
            raise Unavailable(f'cannot write log file "{logfile}"') from error
        self._began = time.monotonic()

    def report(self, event: Event) -> None:
        """One event of a build."""
        if event.kind is Kind.OUTPUT:
            self.detail(event.text)
        elif event.kind is not Kind.COUNT:
            self.progress(f"{event.kind.value if event.kind is Kind.WARNING else event.stage}: {event.text}")

    def progress(self, line: str) -> None:
        """One step, or a warning."""
        line = f"vmbetter: [{time.monotonic() - self._began:5.1f} s] {line}"
        if not self._quiet:
            click.echo(line, err=True)
        self._write(line)

    def detail(self, output: str) -> None:
        """What a program printed."""
        if self._detailed:
            click.echo(output, err=True)
        self._write(output)

    def _write(self, line: str) -> None:
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()


def _later(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value and not context.resilient_parsing:
        raise InvalidInput(f'option "{parameter.opts[0]}" is not available yet')


def _add_later(command: _F) -> _F:
    for number, option in enumerate((*_LATER_VALUES, *_LATER_SWITCHES)):
        command = click.option(
            option,
            f"later_{number}",
            is_flag=option in _LATER_SWITCHES,
            hidden=True,
            expose_value=False,
            callback=_later,
        )(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "-help", "--help"]})
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "-O", "-o", "--output", "name", default="", metavar="NAME", help="name of the results (default: CONFIG's)"
)
@click.option("-branch", "--branch", default="", metavar="SUITE", help="Debian suite (default: this host's)")
@click.option("-mirror", "--mirror", default="", metavar="URL", help="archive (default: this host's package sources)")
@click.option(
    "-constraints", "--constraints", default="", metavar="A,B", help="what // +build asks for (default: debian,amd64)"
)
@click.option("-dry-run", "--dry-run", is_flag=True, help="only print the merged config and where each entry is from")
@click.option("--json", "as_json", is_flag=True, help="print the result (or the merged config) as JSON")
@click.option("--no-cache", is_flag=True, help="build every stage anew")
@click.option("--cache", type=click.Path(path_type=Path), default=None, metavar="DIR", help="folder of the cache")
@click.option("--initrd", "initrd", is_flag=True, help="kernel and initrd: what is made when no target is named")
@click.option(
    "--compress", default="", metavar="HOW", help="of the initrd: zstd, gzip, xz, lz4 or none (default: zstd)"
)
@click.option("-disk", "--disk", is_flag=True, help="a disk image with a boot loader")
@click.option("-format", "--format", "disk_format", default="", metavar="F", help="qcow2, raw or vmdk (default: qcow2)")
@click.option("-size", "--size", default="", metavar="SIZE", help="of the disk, as 4G or 700M (default: what it needs)")
@click.option("-iso", "--iso", is_flag=True, help="a live CD image")
@click.option("-rootfs", "--rootfs", is_flag=True, help="the tree itself as a folder NAME_rootfs")
@click.option("--rootfs-tar", is_flag=True, help="the tree itself as NAME.tar")
@click.option("-noclean", "--noclean", is_flag=True, help="keep the working folder until the next build")
@click.option("-level", "--level", type=click.Choice(_LEVELS), default="info", help="how much is printed")
@click.option("-v/-q", "--verbose/--quiet", "to_stderr", default=True, help="print progress to standard error")
@click.option("-logfile", "--logfile", type=click.Path(path_type=Path), help="write everything to a file too")
@_add_later
def _command(
    config: Path, name: str, branch: str, mirror: str, constraints: str, dry_run: bool, as_json: bool, no_cache: bool,
    cache: Path | None, initrd: bool, compress: str, disk: bool, disk_format: str, size: str, iso: bool, rootfs: bool,
    rootfs_tar: bool, noclean: bool, level: str, to_stderr: bool, logfile: Path | None,
) -> None:  # fmt: skip
    """Build a Debian kernel and initrd from CONFIG into the current directory."""
    given = frozenset(constraints.replace(",", " ").split()) or DEFAULT_CONSTRAINTS
    journal = _Journal(level, to_stderr, logfile)
    if dry_run:
        recipe = load(config, constraints=given)
        for warning in recipe.warnings:
            journal.progress(f"warning: {warning}")
        click.echo(msgspec.json.format(msgspec.json.encode(recipe)).decode() if as_json else text(recipe), nl=as_json)
        return
    if "/" in name:
        raise InvalidInput(f'output name "{name}" must not contain "/"')
    options = Options(
        name, given, Source(branch, mirror), use_cache=not no_cache, keep_work=noclean, cache_root=cache,
        targets=Wanted(initrd, compress, disk, disk_format, size, iso, rootfs, rootfs_tar),
    )  # fmt: skip
    result = build(config, output_dir=Path.cwd(), report=journal.report, options=options)
    if as_json:
        click.echo(msgspec.json.encode({suffix: str(path) for suffix, path in result.files.items()}).decode())


def _plain_flags(arguments: list[str]) -> list[str]:
    """The original's `-flag=true` and `-flag=false` in words that click knows."""
    words: list[str] = []
    for word in arguments:
        name, equals, value = word.partition("=")
        if not equals or name not in _GO_SWITCHES or value.lower() not in ("true", "false"):
            words.append(word)
        elif value.lower() == "true":
            words.append(name)
        elif name == "-v":
            words.append("-q")
    return words


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: list[str] | None = None) -> None:
    """Run the program; exit statuses are those of the error kinds, 2 for a wrong command line."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    try:
        _command.main(
            _plain_flags(sys.argv[1:] if arguments is None else arguments), prog_name="vmbetter", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("vmbetter: interrupted", err=True)
        sys.exit(130)
    except MegaError as error:
        click.echo(f"vmbetter: {user_text(error)}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
