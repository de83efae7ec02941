"""`igor power` and `igor stats`."""

from __future__ import annotations

import click

from megatools.igor.api.requests import NodeResults, Power, Stats, StatsTable
from megatools.igor.cli.overview import aligned
from megatools.igor.cli.program import HELP, Run, helped

_FAILED = 8


@helped
@click.command("power", context_settings=HELP)
@click.argument("action", metavar="on|off|cycle|status")
@click.option("-r", "--reservation", "name", metavar="NAME", help="All nodes of this reservation.")
@click.option("-w", "-n", "--nodes", "nodes", metavar="NODES", help="These nodes, as kn[1-10,12].")
@click.pass_obj
def power_command(run: Run, action: str, name: str | None, nodes: str | None) -> int:
    r"""Switch nodes on or off, or ask whether they are.

    Every node gets a line; the exit status is 8 when one failed.
    """
    answer = run.ask(Power(action, name or "", nodes or ""), NodeResults)
    for line in aligned([(one.node, "ok" if one.ok else "failed", one.text) for one in answer.results]):
        click.echo(line)
    return 0 if all(one.ok for one in answer.results) else _FAILED


@click.command("stats", context_settings=HELP)
@click.option("-d", "-days", "--days", metavar="N", type=int, default=30, help="The last N days (30).")
@click.option("-json", "--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def stats_command(run: Run, days: int, as_json: bool) -> None:
    """Show who used how much of the cluster: reservations and node-hours."""
    table = run.ask(Stats(days), StatsTable)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(table).decode())
        return
    rows = [("OWNER", "RESERVATIONS", "NODE-HOURS")]
    rows += [
        ("all" if row.owner == "*" else row.owner, str(row.reservations), f"{row.node_hours:.1f}") for row in table.rows
    ]
    click.echo("\n".join(aligned(rows)))
    click.echo(f"{table.busy_share:.1%} of the cluster in the last {table.days} days")
