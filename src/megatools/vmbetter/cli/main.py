"""The `vmbetter` program: its options, and which command a command line means.

Entry point only; all work is in the builder. `vmbetter CONFIG` builds; a few words in CONFIG's place are commands.
Options have the original's spellings (one dash) beside ours (two).
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
from pathlib import Path
from signal import SIGINT

import click
import msgspec

from megatools.hostkit import signals
from megatools.hostkit.errors import InvalidInput, MegaError, Unavailable, user_text
from megatools.vmbetter.building import Options, build
from megatools.vmbetter.cache import SPACE_HINT
from megatools.vmbetter.cli import completion
from megatools.vmbetter.cli.commands import COMMANDS
from megatools.vmbetter.cli.journal import LEVELS, Journal
from megatools.vmbetter.cli.options import FILE, FOLDER, where, with_source
from megatools.vmbetter.config.merge import load
from megatools.vmbetter.config.recipe import text
from megatools.vmbetter.events import Event, Kind
from megatools.vmbetter.targets.registry import Wanted

_GO_SWITCHES = ("-v", "-noclean", "-dry-run", "-disk", "-iso", "-rootfs", "-1")
_EPILOG = f"""Other commands: {", ".join(f"vmbetter {name}" for name in COMMANDS)}; each has --help.

Exit status: 0 done, 2 wrong command line or config, 3 something named does not exist, 6 not permitted, 7 something is
missing, full or too slow, 8 a program failed (a postbuild script, for one), 10 damaged files, 130 interrupted."""


@click.command(context_settings={"help_option_names": ["-h", "-help", "--help"]}, epilog=_EPILOG)
@click.argument("config", type=FILE, shell_complete=completion.configs)
@click.option(
    "-O", "-o", "--output", "name", default="", metavar="NAME", help="name of the results (default: CONFIG's)"
)
@with_source
@click.option("--update", is_flag=True, help="ask the sources for newer packages, write the lock file anew")
@click.option("-dry-run", "--dry-run", is_flag=True, help="only print the merged config and where each entry is from")
@click.option(
    "--json", "as_json", is_flag=True, help="print what happens, and the result, as JSON lines (or the config)"
)
@click.option("--no-cache", is_flag=True, help="build every stage anew")
@click.option("--cache", type=FOLDER, default=None, metavar="DIR", help="folder of the cache")
@click.option("--initrd", "initrd", is_flag=True, help="kernel and initrd: what is made when no target is named")
@click.option("--compress", default="", metavar="HOW", help="of the initrd: zstd, gzip, xz, lz4, with :LEVEL, or none")
@click.option("-disk", "--disk", is_flag=True, help="a disk image with a boot loader")
@click.option("-format", "--format", "disk_format", default="", metavar="F", help="qcow2, raw or vmdk (default: qcow2)")
@click.option("-size", "--size", default="", metavar="SIZE", help="of the disk, as 4G or 700M (default: what it needs)")
@click.option("-iso", "--iso", is_flag=True, help="a live CD image")
@click.option("-rootfs", "--rootfs", is_flag=True, help="the tree itself as a folder NAME_rootfs")
@click.option("--rootfs-tar", is_flag=True, help="the tree itself as NAME.tar")
@click.option("--append", default="", metavar="WORDS", help="kernel command line of disks and ISO images")
@click.option("--boot-test", is_flag=True, help="boot the results in QEMU and wait until they say that they are up")
@click.option("--boot-marker", default="", metavar="REGEX", help="what a guest says when it is up (default: its login)")
@click.option(
    "--postbuild-timeout",
    type=click.FloatRange(min=1),
    default=1800.0,
    metavar="S",
    help="of each script (default: 1800)",
)
@click.option("-1", "stage_one", is_flag=True, help="stop after the overlays, with the tree in NAME_stage1")
@click.option("-2", "stage_two", type=FOLDER, metavar="DIR", help="start with postbuild, in the tree DIR (changes it)")
@click.option("-mbr", default="", hidden=True)
@click.option("-isolinux", default="", hidden=True)
@click.option("-noclean", "--noclean", is_flag=True, help="keep the working folder until the next build")
@click.option("-level", "--level", type=click.Choice(LEVELS), default="info", help="how much is printed")
@click.option(
    "-v/-q",
    "--verbose/--quiet",
    "to_stderr",
    default=True,
    help="print what happens (the default), or nothing but errors",
)
@click.option("-logfile", "--logfile", type=FILE, help="write everything to a file too")
def build_command(
    config: Path, name: str, suite: str, mirror: str, components: str, keyring: Path | None, architecture: str,
    debs: tuple[Path, ...], engine: str, lock: Path | None, update: bool, constraints: str, dry_run: bool,
    as_json: bool, no_cache: bool, cache: Path | None, initrd: bool, compress: str, disk: bool,
    disk_format: str, size: str, iso: bool, rootfs: bool, rootfs_tar: bool, append: str, boot_test: bool,
    boot_marker: str, postbuild_timeout: float, stage_one: bool, stage_two: Path | None, mbr: str, isolinux: str,
    debootstrap_append: str, noclean: bool, level: str, to_stderr: bool, logfile: Path | None,
) -> None:  # fmt: skip
    """Build a Debian kernel and initrd, or other targets, from CONFIG into the current directory."""
    if "/" in name:
        raise InvalidInput(f'output name "{name}" must not contain "/"')
    asked = where(suite, mirror, components, keyring, architecture, debs, engine, debootstrap_append, lock, constraints)
    wanted = Wanted(initrd, compress, disk, disk_format, size, iso, rootfs, rootfs_tar, append)
    _check_boot_test(wanted, boot_test, boot_marker, architecture)
    options = Options(
        name, asked.constraints, asked.source, asked.lock, update, use_cache=not no_cache, keep_work=noclean,
        cache_root=cache, targets=wanted, postbuild_timeout_s=postbuild_timeout, only_stage_one=stage_one,
        stage_two=stage_two,
    )  # fmt: skip
    with Journal(level, to_stderr=to_stderr, logfile=logfile, as_json=as_json and not dry_run) as journal:
        for option, value in (("-mbr", mbr), ("-isolinux", isolinux)):
            if value:
                journal.say(f"option {option} is not needed any more: images bring their own boot loader")
        if dry_run:
            _show(config, asked.constraints, journal, as_json=as_json)
            return
        result = build(config, output_dir=Path.cwd(), report=journal.report, options=options)
        if boot_test:
            _boot(result.files, result.memory_mib, boot_marker, journal)
        journal.result(result.files, result.memory_mib)


def _check_boot_test(wanted: Wanted, asked: bool, marker: str, architecture: str) -> None:
    """Raise InvalidInput for a boot test that can only fail."""
    if marker and not asked:
        raise InvalidInput("a marker is looked for in a boot test only", hint="add --boot-test")
    if asked and architecture not in ("", "amd64", "i386"):
        raise InvalidInput(f'images for "{architecture}" cannot be booted here', hint="leave --boot-test out")
    if asked and (wanted.rootfs or wanted.rootfs_tar) and not (wanted.initrd or wanted.disk or wanted.iso):
        raise InvalidInput("none of the results can be booted", hint="ask for an --initrd, a --disk or an --iso too")
    try:
        re.compile(marker)
    except re.error as error:
        raise InvalidInput(f'marker "{marker}" is not a regular expression') from error


def _show(config: Path, constraints: frozenset[str], journal: Journal, *, as_json: bool) -> None:
    recipe = load(config, constraints=constraints)
    for warning in recipe.warnings:
        journal.say(f"warning: {warning}")
    click.echo(msgspec.json.format(msgspec.json.encode(recipe)).decode() if as_json else text(recipe), nl=as_json)


def _boot(files: dict[str, Path], memory_mib: int, marker: str, journal: Journal) -> None:
    from megatools.vmbetter import boottest  # only where something is booted

    def tell(line: str) -> None:
        journal.report(Event(Kind.STEP, "boot test", line))

    boottest.run(files, memory_mib=memory_mib, report=tell, marker=marker or boottest.MARKER)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # what cannot be a path, or may not be looked at
        return False


def _mistyped(words: list[str]) -> str:
    """The command that a first word was probably meant to be; empty when it is one, or may be a config."""
    if not words or words[0] in COMMANDS or words[0].startswith("-") or _exists(words[0]):
        return ""
    if "/" in words[0] or words[0].endswith(".conf") or _exists(f"{words[0]}.conf"):
        return ""
    return next(iter(difflib.get_close_matches(words[0], COMMANDS, 1)), "")


def _plain_flags(arguments: list[str]) -> list[str]:
    """The original's `-flag=true` and `-flag=false`, and `--disk=FORMAT`, in words that click knows."""
    words: list[str] = []
    for word in arguments:
        name, equals, value = word.partition("=")
        if equals and name in ("--disk", "-disk") and value.lower() not in ("true", "false"):
            words += [name, "--format", value]
        elif not equals or name not in _GO_SWITCHES or value.lower() not in ("true", "false"):
            words.append(word)
        elif value.lower() == "true":
            words.append(name)
        elif name == "-v":
            words.append("-q")
    return words


def main(arguments: list[str] | None = None) -> None:
    """Run the program; exit statuses are those of the error kinds, 2 for a wrong command line."""
    signals.install()
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if instruction := os.environ.get(completion.VARIABLE, ""):
            click.echo(completion.answer(instruction, build_command, COMMANDS))
        elif meant := _mistyped(words):
            raise InvalidInput(f'"{words[0]}" is no command, nor a config', hint=f'did you mean "{meant}"?')
        elif words and words[0] in COMMANDS:
            COMMANDS[words[0]].main(words[1:], prog_name=f"vmbetter {words[0]}", standalone_mode=False)
        else:
            build_command.main(_plain_flags(words), prog_name="vmbetter", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except signals.Stopped as stopped:
        told = "interrupted" if stopped.number is SIGINT else f"ended by {stopped}"
        click.echo(f"vmbetter: {told}", err=True)
        sys.exit(stopped.exit_status)
    except MegaError as error:
        click.echo(f"vmbetter: {user_text(error)}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # what nobody has explained: one line all the same
        failed = Unavailable(f'cannot use "{error.filename}"' if error.filename else "the system refused something")
        failed.__cause__ = error
        failed.hint = SPACE_HINT if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        click.echo(f"vmbetter: {user_text(failed)}", err=True)
        sys.exit(failed.exit_code)
