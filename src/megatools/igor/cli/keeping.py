"""`igor setup`, `check`, `import`, `tick`, `settings` and `version`."""

from __future__ import annotations

from pathlib import Path

import click

from megatools.hostkit.errors import NotFound, Unavailable
from megatools.igor.api.requests import Check, CheckReport, Done, Import, Tick
from megatools.igor.cli.program import HELP, Run, helped
from megatools.igor.cli.reserving import report
from megatools.igor.model.config import DEFAULT_PATH

_DISAGREES = 10


@click.command("setup", context_settings=HELP)
@click.argument("tftproot", required=False)
@click.option("-service", "--service", is_flag=True, help="Also install the socket and timer units for many users.")
@click.pass_obj
def setup_command(run: Run, tftproot: str | None, service: bool) -> None:
    """Set igor up on this machine: a configuration, the TFTP root's directories, the store. May be repeated.

    TFTPROOT is written into a new configuration (/tftpboot/); an existing one is left as it is.
    """
    from megatools.igor.cli import installing

    for line in installing.set_up(Path(run.path) if run.path else DEFAULT_PATH, tftproot or "", service=service):
        click.echo(line)


@click.command("check", context_settings=HELP)
@click.option("-repair", "--repair", is_flag=True, help="Make them agree (administrators).")
@click.pass_obj
def check_command(run: Run, repair: bool) -> int:
    """Prove that store and boot files agree; repair them. The exit status is 10 when they do not."""
    found = run.ask(Check(repair), CheckReport)
    for line in found.repaired:
        click.echo(f"repaired: {line}")
    for line in found.problems:
        click.echo(line)
    if not found.problems:
        click.echo("store and boot files agree")
    return _DISAGREES if found.problems else 0


@helped
@click.command("import", context_settings=HELP)
@click.argument("file", metavar="RESERVATIONS.JSON")
@click.pass_obj
def import_command(run: Run, file: str) -> int:
    """Take over reservations of the original igor (2013): TFTPROOT/igor/reservations.json (administrators)."""
    try:
        text = Path(file).read_text()
    except FileNotFoundError as error:
        raise NotFound(f'there is no "{file}"') from error
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f'cannot read "{file}"') from error
    done = run.ask(Import(text), Done)
    report(run, done)
    return _DISAGREES if done.messages else 0


@click.command("tick", context_settings=HELP)
@click.pass_obj
def tick_command(run: Run) -> None:
    """Do what is due: starts, ends, notices, hooks. A timer runs this."""
    report(run, run.ask(Tick(), Done))


@click.command("settings", context_settings=HELP)
@click.option("-json", "--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def settings_command(run: Run, as_json: bool) -> None:
    """Show every key of igor.conf and its value."""
    import msgspec

    encoded = msgspec.json.encode(run.config)
    if as_json:
        click.echo(encoded.decode())
        return
    for name, value in msgspec.json.decode(encoded, type=dict[str, msgspec.Raw]).items():
        click.echo(f"{name} = {bytes(value).decode()}")


@click.command("version", context_settings=HELP)
def version_command() -> None:
    """Show which igor this is."""
    from megatools.hostkit.revision import version_text

    click.echo(version_text("igor"))
