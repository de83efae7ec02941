"""`igor del`, `extend`, `edit`, `add` and `drop`."""

from __future__ import annotations

import click

from megatools.igor.api.requests import ChangeNodes, Delete, Done, Edit, Extend
from megatools.igor.cli import words
from megatools.igor.cli.files import image_files, opened
from megatools.igor.cli.program import HELP, Run, helped
from megatools.igor.cli.reserving import report


@helped
@click.command("del", context_settings=HELP)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("-series", "--series", is_flag=True, help="All of a recurring reservation.")
@click.pass_obj
def del_command(run: Run, names: tuple[str, ...], series: bool) -> None:
    """End reservations: their nodes are free, and boot the default again.

    \b
    igor del testing
    """
    for name in names:
        report(run, run.ask(Delete(name, series), Done))


@helped
@click.command("extend", context_settings=HELP)
@click.option("-r", "--reservation", "name", metavar="NAME", required=True, help="Name of the reservation.")
@click.option("-t", "--time", "time", metavar="TIME", help="By how long: hours, or 90m, 4d6h (12 hours).")
@click.option("-max", "--max", "most", is_flag=True, help="As long as limits and the calendar allow.")
@click.pass_obj
def extend_command(run: Run, name: str, time: str | None, most: bool) -> None:
    """Let a reservation last longer.

    \b
    igor extend -r testing -t 12
    """
    by_s = words.duration_s(time) if time else round(run.config.default_hours * 3600)
    report(run, run.ask(Extend(name, by_s, most), Done))


@helped
@click.command("edit", context_settings=HELP)
@click.option("-r", "--reservation", "name", metavar="NAME", required=True, help="Name of the reservation.")
@click.option("-k", "--kernel", metavar="FILE", help="Another kernel.")
@click.option("-i", "--initrd", metavar="FILE", help="Another initial ramdisk.")
@click.option("-image", "--image", metavar="IMAGE", help="A vmbetter image: IMAGE.kernel and IMAGE.initrd.")
@click.option("-profile", "--profile", metavar="NAME", help="Boot this profile.")
@click.option("-c", "--args", "args", metavar="ARGS", help="Other kernel arguments.")
@click.option("-owner", "--owner", metavar="USER", help="Give it to somebody (administrators).")
@click.option("-g", "-group", "--group", metavar="GROUP", help='Share it with this group ("" with nobody).')
@click.option("-note", "--note", metavar="TEXT", help="For people to read.")
@click.option("-name", "--name", "new_name", metavar="NAME", help="A new name.")
@click.pass_obj
def edit_command(run: Run, /, name: str, image: str | None, **changes: str | None) -> None:
    """Change what a reservation boots, or whose it is.

    Nodes boot the new files when they boot next: igor power -r NAME cycle.
    """
    kernel, initrd = changes.pop("kernel") or "", changes.pop("initrd") or ""
    if image:
        kernel, initrd = image_files(image)
    with opened(kernel, initrd) as (files, (kernel_at, initrd_at)):
        request = Edit(name, kernel_at, initrd_at, kernel, initrd, **changes)
        report(run, run.ask(request, Done, files))


@helped
@click.command("add", context_settings=HELP)
@click.option("-r", "--reservation", "name", metavar="NAME", required=True, help="Name of the reservation.")
@click.option("-w", "--nodes", metavar="NODES", help="These nodes, as kn[1-10,12].")
@click.option("-n", "--count", metavar="N", type=click.IntRange(1), help="So many nodes.")
@click.pass_obj
def add_command(run: Run, name: str, nodes: str | None, count: int | None) -> None:
    """Add nodes to a reservation."""
    report(run, run.ask(ChangeNodes(name, add=nodes or "", add_count=count or 0), Done))


@helped
@click.command("drop", context_settings=HELP)
@click.option("-r", "--reservation", "name", metavar="NAME", required=True, help="Name of the reservation.")
@click.option("-w", "--nodes", metavar="NODES", required=True, help="These nodes, as kn[1-10,12].")
@click.pass_obj
def drop_command(run: Run, name: str, nodes: str) -> None:
    """Drop nodes of a reservation: they are free, and boot the default again."""
    report(run, run.ask(ChangeNodes(name, drop=nodes), Done))
