"""What all commands share: the group with its lazy commands, errors as exit codes, the options of a run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn, TypeVar

import click

from megatools.hostkit.errors import MegaError, Unavailable, user_text
from megatools.igor.api.doors import Door
from megatools.igor.api.requests import Answer, AnyRequest
from megatools.igor.cli import reach
from megatools.igor.model.config import Config

T = TypeVar("T")
USAGE_STATUS = 2

COMMANDS: dict[str, tuple[str, str]] = {
    "show": ("showing", "Show the racks and all reservations"),
    "sub": ("reserving", "Reserve nodes and say what they boot"),
    "del": ("changing", "End a reservation"),
    "extend": ("changing", "Let a reservation last longer"),
    "edit": ("changing", "Change what a reservation boots, or whose it is"),
    "add": ("changing", "Add nodes to a reservation"),
    "drop": ("changing", "Drop nodes of a reservation"),
    "power": ("powering", "Switch nodes on or off, or ask whether they are"),
    "nodes": ("describing", "List nodes, import their MACs, block and unblock them"),
    "profile": ("describing", "Keep a kernel, an initrd and arguments under a name"),
    "stats": ("powering", "Show who used how much"),
    "setup": ("keeping", "Set igor up on this machine"),
    "check": ("keeping", "Prove that store and boot files agree; repair them"),
    "import": ("keeping", "Take over reservations of the original igor"),
    "tick": ("keeping", "Do what is due: starts, ends, notices (a timer runs this)"),
    "serve": ("serving", "Answer other users over a socket"),
    "web": ("web.command", "Serve the page and the API over HTTPS"),
    "token": ("serving", "Make a token for the API"),
    "settings": ("keeping", "Show every key of igor.conf and its value"),
    "version": ("keeping", "Show which igor this is"),
}
"""Every command: the module of `megatools.igor.cli` (or, with a dot, of `megatools.igor`) that has it, and one line."""


class Run:
    """One run of the program: its options, and what they lead to, made when first needed."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._config: Config | None = None

    @property
    def config(self) -> Config:
        """The configuration; raises as `reach.configuration`."""
        if self._config is None:
            self._config, _ = reach.configuration(self.path)
        return self._config

    def door(self) -> Door:
        """The way to the store."""
        return reach.door(self.config)

    def ask(self, request: AnyRequest, kind: type[T], files: Sequence[int] = ()) -> T:
        """The answer to a request, of the kind it has."""
        answer: Answer = self.door().ask(request, files)
        if not isinstance(answer, kind):
            raise TypeError(f"{type(request).__name__} was answered with {type(answer).__name__}")
        return answer


class Program(click.Group):
    """igor's commands; a command's module is loaded when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the table, then help."""
        return [*COMMANDS, "help"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name."""
        if cmd_name == "help":
            return help_command
        if cmd_name not in COMMANDS:
            return None
        place = COMMANDS[cmd_name][0]
        module = importlib.import_module(f"megatools.igor.{place if '.' in place else f'cli.{place}'}")
        command = getattr(module, f"{cmd_name}_command", None)
        if not isinstance(command, click.Command):
            raise Unavailable(f'"igor {cmd_name}" is not available in this version yet')
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading any."""
        rows = [(name, text) for name, (_, text) in COMMANDS.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*rows, ("help", "Show help for igor or one command")])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command asked for; raises click.UsageError with what was probably meant."""
        if args and self.get_command(ctx, args[0]) is None:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f'unknown command "{args[0]}"{meant}', ctx)
        return super().resolve_command(ctx, args)


@click.command("help")
@click.argument("command", required=False)
@click.pass_context
def help_command(ctx: click.Context, command: str | None) -> None:
    """Show help for igor or one command."""
    parent = ctx.parent
    assert parent is not None
    if command is None:
        click.echo(parent.get_help())
        return
    assert isinstance(parent.command, Program)
    _, found, _ = parent.command.resolve_command(parent, [command])
    assert found is not None
    click.echo(found.get_help(click.Context(found, info_name=command, parent=parent)))


def helped(command: click.Command) -> click.Command:
    """A command that shows its help when it is given nothing."""
    command.no_args_is_help = True
    return command


HELP = {"help_option_names": ["-h", "-help", "--help"]}


@click.group(
    "igor",
    cls=Program,
    context_settings=HELP,
    invoke_without_command=False,
    no_args_is_help=True,
    epilog="igor help COMMAND, or a command without arguments, shows more.",
)
@click.option("-config", "--config", "config", metavar="FILE", help="Configuration file (/etc/igor.conf).")
@click.pass_context
def igor(ctx: click.Context, config: str | None) -> None:
    """Reserve nodes of a cluster and say what they boot."""
    ctx.obj = Run(config)


def _usage(error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.message)
        return USAGE_STATUS
    if error.ctx is not None and error.ctx.command is igor and error.message == "Missing command.":
        click.echo(error.ctx.get_help())
        return USAGE_STATUS
    path = error.ctx.command_path if error.ctx else "igor"
    text = error.format_message()
    reach.warn(f"igor: {text[:1].lower()}{text[1:].rstrip('.')}\nhint: {path} -h shows what it takes")
    return USAGE_STATUS


def run(arguments: Sequence[str]) -> int:
    """Run the program with arguments; returns its exit status."""
    try:
        status = igor.main(list(arguments), prog_name="igor", standalone_mode=False)
    except click.UsageError as error:
        return _usage(error)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return _pipe_closed()
    except MegaError as error:
        reach.warn(f"igor: {user_text(error)}")
        return error.exit_code
    return status if isinstance(status, int) else 0


def _pipe_closed() -> int:
    """The reader of our output left (`igor show | head`): that is no error of ours."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def stop(status: int) -> NoReturn:
    """End with a status, after all output was written."""
    raise click.exceptions.Exit(status)
