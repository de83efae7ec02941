"""`igor nodes` and `igor profile`."""

from __future__ import annotations

from pathlib import Path

import click

from megatools.hostkit.errors import InvalidInput, NotFound, Unavailable
from megatools.igor.api.requests import (
    Block,
    Done,
    GetHosts,
    GetProfiles,
    HostList,
    ProfileList,
    SetHosts,
    SetProfile,
)
from megatools.igor.cli.files import image_files, opened
from megatools.igor.cli.overview import aligned
from megatools.igor.cli.program import HELP, Run, helped
from megatools.igor.cli.reserving import report
from megatools.igor.model.host import Host


@click.group("nodes", context_settings=HELP, invoke_without_command=True)
@click.pass_context
def nodes_command(ctx: click.Context) -> None:
    """List nodes, import their MACs, block and unblock them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(nodes_list)


@nodes_command.command("list", context_settings=HELP)
@click.option("-w", "--nodes", metavar="NODES", default="", help="Only these.")
@click.option("-json", "--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def nodes_list(run: Run, nodes: str = "", as_json: bool = False) -> None:
    """What is known of nodes."""
    found = run.ask(GetHosts(nodes), HostList).hosts
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(found).decode())
        return
    rows = [("NODE", "MAC", "ADDRESS", "BOOT", "POWER", "PORT", "BLOCKED")]
    rows += [
        (one.name, one.mac or "-", one.ip or "-", one.boot.value, _power(one), one.port or "-", one.blocked)
        for one in found
    ]
    click.echo("\n".join(aligned(rows)))


def _power(host: Host) -> str:
    return " ".join(part for part in (host.power, host.power_address) if part) or "-"


@nodes_command.command("import", context_settings=HELP)
@click.argument("file", metavar="FILE")
@click.option("-dry", "--dry-run", "dry", is_flag=True, help="Only say what would be recorded.")
@click.pass_obj
def nodes_import(run: Run, file: str, dry: bool) -> None:
    r"""Record MACs, addresses and boot modes from a file.

    \b
    a DHCP lease file (dnsmasq, ISC), a dnsmasq configuration with dhcp-host,
    CSV whose first line names columns (node,mac,ip,boot,power,power_address,port),
    or lines such as   kn[1-4] mac=52:54:00:77:00:[01-04] boot=uefi
    """
    from megatools.igor.boot.inventory import parse

    try:
        text = Path(file).read_text()
    except FileNotFoundError as error:
        raise NotFound(f'there is no "{file}"') from error
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f'cannot read "{file}"') from error
    known = {host.number: host for host in run.ask(GetHosts(), HostList).hosts}
    found = parse(text, run.config.cluster, known, file)
    for reason in found.skipped:
        click.echo(f"left out: {reason}", err=True)
    hosts = tuple(found.hosts)
    if hosts and not dry:
        run.ask(SetHosts(hosts), HostList)
    for line in aligned(
        [(one.name, one.mac or "-", one.ip or "-", one.boot.value) for one in hosts] or [("", "", "", "")]
    ):
        click.echo(line)
    click.echo(f"{'would record' if dry else 'recorded'} {len(hosts)} nodes")


@nodes_command.command("block", context_settings=HELP)
@click.argument("nodes", metavar="NODES")
@click.option("-m", "-reason", "--reason", "reason", metavar="TEXT", required=True, help="Why; everybody is shown it.")
@click.pass_obj
def nodes_block(run: Run, nodes: str, reason: str) -> None:
    """Keep nodes from being reserved (administrators); reservations they have stay."""
    report(run, run.ask(Block(nodes, reason), Done))


@nodes_command.command("unblock", context_settings=HELP)
@click.argument("nodes", metavar="NODES")
@click.pass_obj
def nodes_unblock(run: Run, nodes: str) -> None:
    """Let nodes be reserved again (administrators)."""
    report(run, run.ask(Block(nodes, ""), Done))


@click.group("profile", context_settings=HELP, invoke_without_command=True)
@click.pass_context
def profile_command(ctx: click.Context) -> None:
    """Keep a kernel, an initrd and arguments under a name."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(profile_list)


@profile_command.command("list", context_settings=HELP)
@click.pass_obj
def profile_list(run: Run) -> None:
    """The profiles you may use."""
    rows = [("NAME", "OWNER", "KERNEL", "INITRD", "PUBLIC", "ARGS")]
    rows += [
        (one.name, one.owner, one.kernel[:12], one.initrd[:12], "yes" if one.public else "no", one.args)
        for one in run.ask(GetProfiles(), ProfileList).profiles
    ]
    click.echo("\n".join(aligned(rows)))


@helped
@profile_command.command("add", context_settings=HELP)
@click.argument("name", metavar="NAME")
@click.option("-k", "--kernel", metavar="FILE", help="Kernel to boot.")
@click.option("-i", "--initrd", metavar="FILE", help="Initial ramdisk to boot.")
@click.option("-image", "--image", metavar="IMAGE", help="A vmbetter image: IMAGE.kernel and IMAGE.initrd.")
@click.option("-c", "--args", "args", metavar="ARGS", default="", help="Kernel arguments.")
@click.option("-private", "--private", is_flag=True, help="For yourself only.")
@click.pass_obj
def profile_add(
    run: Run, name: str, kernel: str | None, initrd: str | None, image: str | None, args: str, private: bool
) -> None:
    """Keep a profile, in place of one of yours of the same name."""
    if image and (kernel or initrd):
        raise InvalidInput("-image names both files, -k and -i do too")
    if image:
        kernel, initrd = image_files(image)
    with opened(kernel, initrd) as (files, (kernel_at, initrd_at)):
        request = SetProfile(name, kernel_at, initrd_at, kernel or "", initrd or "", args, not private)
        report(run, run.ask(request, Done, files))


@profile_command.command("del", context_settings=HELP)
@click.argument("name", metavar="NAME")
@click.pass_obj
def profile_del(run: Run, name: str) -> None:
    """Forget a profile; reservations made with it stay."""
    report(run, run.ask(SetProfile(name, remove=True), Done))
