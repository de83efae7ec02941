"""Put this version on other hosts: `deploy launch|flags|stdout|stderr` (spec B.20)."""

from __future__ import annotations

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.ranges import expand
from megatools.minimega.commands.services import Cmd, Services, responses
from megatools.minimega.lang.answer import Group
from megatools.minimega.lang.registry import Family

family: Family[Services] = Family("deploy", "Other hosts")


@family.command(
    "deploy launch <hosts>",
    "deploy launch <hosts> <user>",
    "deploy launch <hosts> <user> <sudo,>",
)
async def deploy_launch(call: Cmd, hosts: str, user: str = "", sudo: bool = False) -> Group:
    """Install and start this version on other hosts, over ssh

    Hosts are a list with ranges, as in `kn[1-4]`; ssh must reach them without a question, as root or, with `sudo`, as a
    user who may become root without one. Each host gets this version under /opt/megatools, the Debian packages it
    lacks, and a daemon with the flags of `deploy flags`; where this host holds the cluster's authority it becomes a
    member at once. A daemon of another version that runs there gives way, its VMs go on. Each host is reported.
    """
    results = await call.services.deployment.launch(expand(hosts), user, sudo=sudo, tell=call.status)
    return [response for result in results for response in responses(result)]


@family.command("deploy flags", "deploy flags <flags>...")
async def deploy_flags(call: Cmd, flags: tuple[str, ...] = ()) -> str:
    """Show or set the flags of daemons that are deployed

    `-nostdin` is always among them. By default they are those of this daemon that its mesh needs.
    """
    deployment = call.services.deployment
    if flags:
        for word in flags:
            if any(ord(letter) < 32 for letter in word):
                raise InvalidInput(f'flag "{word!r}" holds a control character')
        deployment.flags = flags
        return ""
    return " ".join(deployment.words())


@family.command("clear deploy flags")
async def clear_deploy_flags(call: Cmd) -> None:
    """Return to the default flags of daemons that are deployed"""
    call.services.deployment.flags = ()


@family.command("deploy stdout [file]")
async def deploy_stdout(call: Cmd, file: str | None = None) -> str:
    """Show or set the file, on the other host, that gets the standard output of a daemon deployed there"""
    if file is None:
        return call.services.deployment.stdout
    call.services.deployment.stdout = file
    return ""


@family.command("deploy stderr [file]")
async def deploy_stderr(call: Cmd, file: str | None = None) -> str:
    """Show or set the file, on the other host, that gets the log of a daemon deployed there"""
    if file is None:
        return call.services.deployment.stderr
    call.services.deployment.stderr = file
    return ""
