"""`igor sub`."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import click

from megatools.hostkit.errors import InvalidInput
from megatools.igor.api.requests import Done, Submit
from megatools.igor.cli import words
from megatools.igor.cli.files import image_files, opened
from megatools.igor.cli.program import HELP, Run, helped
from megatools.igor.model.reservation import Kind, Reservation, State
from megatools.igor.run.transitions import spoken


def report(run: Run, done: Done) -> None:
    """Say what a change did."""
    for message in done.messages:
        click.echo(message)
    for one in done.reservations:
        click.echo(sentence(one, run.config.cluster.written(one.nodes)))


def sentence(one: Reservation, written: str) -> str:
    """One reservation in a sentence."""
    if one.state is State.ACTIVE:
        return f'reservation "{one.name}" has {written} until {spoken(one.end_s)}'
    if one.state is State.PLANNED:
        return f'reservation "{one.name}" will have {written} from {spoken(one.start_s)} until {spoken(one.end_s)}'
    return f'reservation "{one.name}" is over, {written} are free'


@helped
@click.command("sub", context_settings=HELP)
@click.option("-r", "--reservation", "name", metavar="NAME", required=True, help="Name of the reservation.")
@click.option("-k", "--kernel", metavar="FILE", help="Kernel to boot.")
@click.option("-i", "--initrd", metavar="FILE", help="Initial ramdisk to boot.")
@click.option("-w", "--nodes", metavar="NODES", help="These nodes, as kn[1-10,12].")
@click.option("-n", "--count", metavar="N", type=int, help="So many nodes, adjacent ones if there are.")
@click.option("-c", "--args", "args", metavar="ARGS", help="Kernel arguments.")
@click.option("-t", "--time", "time", metavar="TIME", help="Duration: hours, or 90m, 4d6h (12 hours).")
@click.option("-a", "--after", "after", metavar="TIME", help="Start then: 2026-11-23 18:30, 18:30 or +3h.")
@click.option("-s", "--speculate", is_flag=True, help="Reserve nothing, show the next openings.")
@click.option("-wait", "--wait", "wait", is_flag=True, help="Queue: start as early as the nodes are free.")
@click.option("-contiguous", "--contiguous", is_flag=True, help="With -n: adjacent nodes only.")
@click.option("-profile", "--profile", metavar="NAME", help="Kernel, initrd and arguments of this profile.")
@click.option("-image", "--image", metavar="IMAGE", help="A vmbetter image: IMAGE.kernel and IMAGE.initrd.")
@click.option("-g", "-group", "--group", metavar="GROUP", help="Share it with this group.")
@click.option("-best-effort", "--best-effort", is_flag=True, help="Yield to any reservation that needs the nodes.")
@click.option("-maintenance", "--maintenance", is_flag=True, help="Keep the nodes free (administrators).")
@click.option("-every", "--every", metavar="TIME", help="Repeat so often (7d); with -times.")
@click.option("-times", "--times", metavar="N", type=int, default=1, help="How many times.")
@click.option("-reboot", "--reboot", is_flag=True, help="Power-cycle the nodes at the start.")
@click.option("-o", "no_reboot", is_flag=True, help="Do not reboot (the original's flag; the default).")
@click.option("-vlan", "--vlan", metavar="VLAN", help="This VLAN, or that of another reservation of yours.")
@click.option("-hook-start", "--hook-start", metavar="FILE", help="Program of yours to run at the start.")
@click.option("-hook-end", "--hook-end", metavar="FILE", help="Program of yours to run at the end.")
@click.option("-mail", "--mail", metavar="ADDRESS", help="Where notices go.")
@click.option("-note", "--note", metavar="TEXT", help="For people to read.")
@click.pass_obj
def sub_command(run: Run, /, **options: object) -> None:
    """Reserve nodes and say what they boot.

    \b
    igor sub -r testing -k /path/to/kernel -i /path/to/initrd -w kn[1-10]
    igor sub -r testing -profile debian -n 10 -t 4d6h -wait
    igor sub -r testing -n 64 -t 12 -s
    """
    kernel, initrd = _text(options, "kernel"), _text(options, "initrd")
    if options["image"]:
        if kernel or initrd:
            raise InvalidInput("-image names both files, -k and -i do too")
        kernel, initrd = image_files(_text(options, "image"))
    _check_required(options, kernel, initrd)
    with opened(kernel, initrd) as (files, (kernel_at, initrd_at)):
        done = run.ask(_request(options, kernel, initrd, kernel_at, initrd_at), Done, files)
    if options["speculate"]:
        if not done.openings:
            click.echo("there is no opening")
        for opening in done.openings:
            click.echo(f"{spoken(opening.start_s)}  {opening.nodes}  ({opening.why})")
        return
    report(run, done)


def _text(options: dict[str, object], name: str) -> str:
    value = options[name]
    return str(value) if value else ""


def _check_required(options: dict[str, object], kernel: str, initrd: str) -> None:
    if options["speculate"] or options["maintenance"] or options["profile"]:
        return
    for value, flag in ((kernel, "-k"), (initrd, "-i")):
        if not value:
            raise click.UsageError(f"missing required argument {flag}", click.get_current_context())


def _request(options: dict[str, object], kernel: str, initrd: str, kernel_at: int, initrd_at: int) -> Submit:
    now = datetime.now(UTC)
    kind = Kind.MAINTENANCE if options["maintenance"] else Kind.NORMAL
    return Submit(
        name=_text(options, "name"),
        nodes=_text(options, "nodes"),
        count=int(str(options["count"])) if options["count"] is not None else 0,
        duration_s=words.duration_s(_text(options, "time")) if options["time"] else 0,
        start_s=words.moment_s(_text(options, "after"), now) if options["after"] else 0,
        kernel=kernel_at,
        initrd=initrd_at,
        kernel_name=kernel,
        initrd_name=initrd,
        profile=_text(options, "profile"),
        args=_text(options, "args"),
        group=_text(options, "group"),
        contiguous=bool(options["contiguous"]),
        wait=bool(options["wait"]),
        speculate=bool(options["speculate"]),
        kind=(Kind.BEST_EFFORT if options["best_effort"] else kind).value,
        reboot=bool(options["reboot"]) and not options["no_reboot"],
        vlan=_text(options, "vlan"),
        every_s=words.duration_s(_text(options, "every")) if options["every"] else 0,
        times=int(str(options["times"])),
        hook_start=_absolute(_text(options, "hook_start")),
        hook_end=_absolute(_text(options, "hook_end")),
        mail=_text(options, "mail"),
        note=_text(options, "note"),
    )


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""
