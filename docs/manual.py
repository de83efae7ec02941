"""Man pages and completion scripts under packaging/, from the programs' own options (called by docs/generate.py)."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from megatools.igor.cli import program as igor_program
from megatools.minimega.app.flags import FLAGS, Flag
from megatools.vmbetter.cli import completion
from megatools.vmbetter.cli.commands import COMMANDS
from megatools.vmbetter.cli.main import build_command

PACKAGING = Path(__file__).resolve().parents[1] / "packaging"
VALUE = " \\fIVALUE\\fR"
_HEAD = '.\\" written by scripts/docs: change the program, or docs/manual.py, instead\n'
_EXIT = {
    "vmbetter": "0 done; 2 wrong command line or config; 3 something named does not exist; 4 it is there already; 6 not"
    " permitted; 7 something outside is missing, full or too slow; 8 a program failed (a postbuild script, for one);"
    " 10 damaged files; 130 interrupted; 143 ended by SIGTERM; 129 by SIGHUP.",
    "igor": "0 done; 2 wrong input; 3 no such thing; 4 exists already; 5 not now (taken, blocked, paused); 6 not"
    " allowed; 7 something outside is missing or full; 8 another program failed; 9 the service answered nonsense; 10"
    " store and files do not agree.",
}
_VMBETTER = """Builds a Debian system from a config and leaves it in the current directory: NAME.kernel and
NAME.initrd, or what --disk, --iso, --rootfs and --rootfs-tar ask for; with NAME.lock, which fixes the packages for
later builds, and NAME.manifest, which says what was built. Each stage (packages, overlays, postbuild, target) is kept
and never done again while nothing that goes into it has changed. Ordinary users build in a user namespace.

A config is a row of KEY = "VALUE"; the keys are parents, packages, overlay and postbuild. "vmbetter init NAME" writes
one to start from."""
_MINIMEGA = """Launches and manages virtual machines, on one host or many. Without flags it becomes the daemon of this
host and shows a prompt; commands are also given by scripts, by -e, and over its socket. "minimega -e help" lists the
commands, "minimega -e help COMMAND" explains one; docs/reference/commands.md has them all."""


def _roff(text: str) -> str:
    """Text for roff: no accidental requests, hyphens that can be copied."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("\u2026", "...")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in plain.splitlines())


def _options(command: click.Command) -> Iterator[str]:
    for option in command.params:
        if not isinstance(option, click.Option) or option.hidden:
            continue
        names = [name for name in [*option.opts, *option.secondary_opts] if not _double(name, option.opts)]
        metavar = "" if option.is_flag else f" \\fI{_roff(option.make_metavar(click.Context(command)))}\\fR"
        yield f".TP\n\\fB{', '.join(_roff(name) for name in names)}\\fR{metavar}\n{_roff(option.help or '')}\n"


def _double(name: str, names: list[str]) -> bool:
    """Whether it is the original's spelling (-branch) of an option that has ours too (--branch)."""
    return not name.startswith("--") and len(name) > 2 and f"-{name}" in names


def _paragraphs(text: str) -> str:
    """Paragraphs, filled; those that click is told to leave as they are (\\b) are left so."""
    made: list[str] = []
    for part in re.split(r"\n[ \t]*\n", inspect.cleandoc(text)):
        if part.lstrip().startswith("\b"):
            made.append(f".nf\n{_roff(part.lstrip().removeprefix(chr(8)).strip(chr(10)))}\n.fi")
        else:
            made.append(_roff(" ".join(part.split())))
    return "\n.PP\n".join(made)


def _page(name: str, summary: str, synopsis: str, sections: list[tuple[str, str]]) -> str:
    lines = [f'{_HEAD}.TH {name.upper()} 1 "" "Mega tools" "User Commands"', ".SH NAME", f"{name} \\- {_roff(summary)}"]
    lines += [".SH SYNOPSIS", synopsis]
    for title, text in sections:
        lines += [f".SH {title}", text.rstrip("\n")]
    return "\n".join(lines) + "\n"


def vmbetter_page() -> str:
    """vmbetter(1)."""
    synopsis = ["\\fBvmbetter\\fR [\\fIoptions\\fR] \\fICONFIG\\fR"]
    commands = []
    for path, command in _leaves("vmbetter", COMMANDS):
        words = " ".join(f"\\fI{_roff(one.human_readable_name.upper())}\\fR" for one in _arguments(command))
        synopsis.append(f"\\fB{path}\\fR {words}".rstrip())
        mine = "".join(_options(command)) if path != "vmbetter shell" else ""
        commands.append(f".SS {path} {words}\n{_paragraphs(command.help or '')}\n{mine}")
    files = """.TP
/var/cache/megatools/vmbetter, ~/.cache/megatools/vmbetter
The cache: of root, of anybody else. logs/\\fINAME\\fR.log has all output of the last build.
.TP
\\fINAME\\fR.lock, \\fINAME\\fR.manifest
Which packages an image is made of; what all went into it."""
    sections = [
        ("DESCRIPTION", _paragraphs(_VMBETTER)),
        ("OPTIONS", "".join(_options(build_command))),
        ("COMMANDS", "".join(commands)),
        ("EXIT STATUS", _roff(_EXIT["vmbetter"])),
        ("FILES", files),
        ("SEE ALSO", ".BR mmdebstrap (1),\n.BR debootstrap (8),\n.BR minimega (1),\n.BR igor (1)"),
    ]
    return _page("vmbetter", "build Debian images from small configs", "\n.br\n".join(synopsis), sections)


def _leaves(path: str, commands: dict[str, click.Command]) -> Iterator[tuple[str, click.Command]]:
    for name, command in commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(f"{path} {name}", command.commands)
        else:
            yield f"{path} {name}", command


def _arguments(command: click.Command) -> list[click.Parameter]:
    return [one for one in command.params if isinstance(one, click.Argument)]


def igor_page() -> str:
    """igor(1)."""
    commands = []
    context = click.Context(igor_program.igor)
    for name in igor_program.COMMANDS:
        command = igor_program.igor.get_command(context, name)
        assert command is not None
        words = " ".join(f"\\fI{_roff(one.human_readable_name.upper())}\\fR" for one in _arguments(command))
        text = _paragraphs(command.help or "")
        commands.append(f".SS igor {name} {words}\n{text}\n{''.join(_options(command))}")
    sections = [
        (
            "DESCRIPTION",
            "Reserves nodes of a cluster and says what they boot. Options may be written with one dash or two.",
        ),
        ("OPTIONS", "".join(_options(igor_program.igor))),
        ("COMMANDS", "".join(commands)),
        ("EXIT STATUS", _roff(_EXIT["igor"])),
        ("FILES", "/etc/igor.conf: the configuration; \\fBigor settings\\fR shows every key of it."),
        ("SEE ALSO", ".BR vmbetter (1),\n.BR minimega (1)"),
    ]
    synopsis = "\\fBigor\\fR [\\fB\\-config\\fR \\fIFILE\\fR] \\fICOMMAND\\fR [\\fIoptions\\fR]"
    return _page("igor", "reserve nodes of a cluster and say what they boot", synopsis, sections)


def minimega_page() -> str:
    """minimega(1)."""
    flags = "".join(
        f".TP\n\\fB\\-{_roff(flag.name)}\\fR{VALUE if _takes(flag) else ''}\n{_roff(flag.help)}\n" for flag in _flags()
    )
    synopsis = [
        "\\fBminimega\\fR [\\fIflags\\fR] [\\fIscript\\fR]...",
        "\\fBminimega\\fR [\\fIflags\\fR] \\fB\\-e\\fR \\fIcommand\\fR...",
        "\\fBminimega\\fR [\\fIflags\\fR] \\fB\\-attach\\fR",
    ]
    sections = [
        ("DESCRIPTION", _paragraphs(_MINIMEGA)),
        ("OPTIONS", f"Flags have one dash or two.\n{flags}"),
        ("FILES", "/etc/minimega.json: settings, as \\fB\\-show\\-settings\\fR lists them."),
        ("SEE ALSO", ".BR vmbetter (1),\n.BR igor (1),\n.BR qemu\\-system\\-x86_64 (1)"),
    ]
    return _page("minimega", "launch and manage virtual machines", "\n.br\n".join(synopsis), sections)


def _flags() -> list[Flag]:
    return [flag for flag in FLAGS if not flag.later]


def _takes(flag: Flag) -> bool:
    return not isinstance(flag.default, bool)


def completions() -> dict[str, str]:
    """Completion scripts by the name of their file: PROGRAM.SHELL."""
    made = {f"vmbetter.{shell}": text for shell, text in completion.SCRIPTS.items()}
    for shell in completion.SCRIPTS:
        kind = get_completion_class(shell)
        assert kind is not None
        asked = kind(igor_program.igor, {}, "igor", "_IGOR_COMPLETE")
        made[f"igor.{shell}"] = asked.source_template % asked.source_vars()
    names = " ".join(f"-{flag.name}" for flag in _flags())
    made["minimega.bash"] = f'# bash completion of minimega\ncomplete -o default -W "{names}" minimega\n'
    rows = [
        f'    "-{flag.name}[{_escaped(flag.help)}]{":value:_files" if _takes(flag) else ""}" \\' for flag in _flags()
    ]
    made["minimega.zsh"] = "\n".join(["#compdef minimega", "_arguments \\", *rows, "    '*:script:_files'", ""])
    lines = [
        f"complete -c minimega -o {flag.name}{' -r' if _takes(flag) else ''} -d '{_quoted(flag.help)}'"
        for flag in _flags()
    ]
    made["minimega.fish"] = "\n".join(["# fish completion of minimega", *lines, ""])
    return made


def _escaped(text: str) -> str:
    return re.sub(r'([\[\]:"$`\\])', r"\\\1", text)


def _quoted(text: str) -> str:
    return text.replace("'", "\\'")


def files() -> dict[Path, str]:
    """Every file under packaging/ that is written here, and what is to be in it."""
    pages = {"vmbetter": vmbetter_page(), "igor": igor_page(), "minimega": minimega_page()}
    made = {PACKAGING / "man" / f"{name}.1": text for name, text in pages.items()}
    return made | {PACKAGING / "completions" / name: text for name, text in completions().items()}
