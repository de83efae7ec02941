"""`igor show`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click
from msgspec.structs import replace

from megatools.igor.api.requests import Overview, Show
from megatools.igor.cli import overview as page
from megatools.igor.cli.program import HELP, Run
from megatools.igor.model.reservation import Reservation, State


@click.command("show", context_settings=HELP)
@click.argument("name", required=False)
@click.option("-owner", "--owner", metavar="USER", help="Only reservations of this user.")
@click.option("-group", "--group", metavar="GROUP", help="Only reservations shared with this group.")
@click.option("-mine", "--mine", is_flag=True, help="Only reservations that are yours or your groups'.")
@click.option("-active", "--active", is_flag=True, help="Only reservations that have started.")
@click.option("-future", "--future", is_flag=True, help="Only reservations that have not.")
@click.option("-expired", "--expired", is_flag=True, help="Only those that are fair game.")
@click.option("-past", "--past", metavar="N", type=click.IntRange(0, 100_000), default=0, help="Also the last N ended.")
@click.option("-sort", "--sort", type=click.Choice(list(page.SORTS)), help="Order of the table.")
@click.option("-reverse", "--reverse", is_flag=True, help="The other way round.")
@click.option("-l", "--long", "long", is_flag=True, help="Also show groups, times, kinds and sizes.")
@click.option("-t", "-table", "--table", is_flag=True, help="The table without the racks.")
@click.option("-hosts", "--hosts", is_flag=True, help="Lines for a hosts file: NAME.0, NAME.1, ... of each.")
@click.option("-json", "--json", "as_json", is_flag=True, help="For programs: one JSON object.")
@click.option("-calendar", "--calendar", is_flag=True, help="A chart of who has what when.")
@click.option("-days", "--days", type=click.FloatRange(0.1, 366), default=7.0, help="How far the chart looks (7).")
@click.option("-colour", "--colour", "-color", type=click.Choice(["auto", "always", "never"]), default="auto")
@click.pass_obj
def show_command(run: Run, /, **options: object) -> None:
    """Show the racks and all reservations.

    \b
    NAME, OWNER  of the reservation
    TIME LEFT    in hours; negative: it is over and fair game for anybody to delete
    NODES        it has
    """
    name = options["name"]
    answer = run.ask(Show(past=int(str(options["past"])), name=str(name) if name else ""), Overview)
    chosen = tuple(_chosen(answer, options))
    answer = replace(answer, reservations=chosen)
    if options["as_json"]:
        from megatools.igor.cli.machine import overview_json

        click.echo(overview_json(answer))
        return
    if options["hosts"]:
        click.echo("\n".join(_hosts_lines(run, answer)))
        return
    if options["calendar"]:
        from megatools.igor.cli.gantt import chart

        click.echo(chart(answer, days=float(str(options["days"])), width=_width(), colours=_colours(options)))
        return
    racks = not options["table"]
    sys.stdout.write(page.text_of(answer, colours=_colours(options), long=bool(options["long"]), racks=racks) + "\n")


def _hosts_lines(run: Run, answer: Overview) -> list[str]:
    """`ADDRESS NODE ALIAS` of every node whose address is known or found; the others as a comment."""
    from megatools.igor.api.addresses import Addresses
    from megatools.igor.api.requests import GetHosts, HostList
    from megatools.igor.cli.machine import aliases

    addresses = {host.name: host.ip for host in run.ask(GetHosts(), HostList).hosts}
    resolve, suffix = Addresses(), f".{run.config.domain}" if run.config.domain else ""
    lines: list[str] = []
    for one in answer.reservations:
        for alias, node in aliases(one, answer.cluster).items():
            address = addresses.get(node) or resolve(node + suffix) or "# no address:"
            lines.append(f"{address} {node} {alias}")
    return lines


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((100, 24)).columns


def _colours(options: dict[str, object]) -> bool:
    if options["colour"] != "auto":
        return options["colour"] == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb"


def _chosen(answer: Overview, options: dict[str, object]) -> list[Reservation]:
    tests: dict[str, Callable[[Reservation], bool]] = {
        "owner": lambda one: one.owner == options["owner"],
        "group": lambda one: one.group == options["group"],
        "mine": lambda one: page.mine(one, answer),
        "active": lambda one: one.state is State.ACTIVE,
        "future": lambda one: one.state is State.PLANNED,
        "expired": lambda one: one.expired(answer.now_s),
    }
    kept = list(answer.reservations)
    for key, test in tests.items():
        if options[key]:
            kept = [one for one in kept if test(one)]
    if options["sort"]:
        kept.sort(key=page.SORTS[str(options["sort"])])
    return kept[::-1] if options["reverse"] else kept
