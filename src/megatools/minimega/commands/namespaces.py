"""Namespaces: list them, switch, run one command in one, destroy."""

from __future__ import annotations

from collections.abc import AsyncIterator

from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.lang.answer import Group, Table, rows_table
from megatools.minimega.lang.call import Invocation
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.namespace.namespaces import DEFAULT, NamespaceRow

family: Family[Services] = Family("namespaces", "Namespaces")


@family.command("namespace", effect=Effect.NONE)
async def namespace(call: Cmd) -> Table:
    """List namespaces

    A namespace owns VMs, VLAN names, taps, DHCP servers and VM configurations. The column `active` marks the one
    your commands act on; `vlans` is its own VLAN range, where it has one.
    """
    return rows_table(NamespaceRow, call.services.namespaces.rows(call.namespace))


@family.command("namespace <name>", suggest={"name": "namespace"})
async def switch_namespace(call: Cmd, name: str) -> None:
    """Make a namespace the active one

    It is made if there is none of that name. Later commands of this prompt or connection act on it, and so does
    every prompt or connection opened from now on. In a script it holds to the end of the script.
    """
    await call.services.namespaces.ensure(name)
    _move(call, name)


@family.command("namespace <name> (command)", suggest={"name": "namespace"})
async def run_in_namespace(call: Cmd, name: str, command: Invocation) -> AsyncIterator[Group]:
    """Run one command in a namespace

    The active namespace stays as it is:

        namespace lab vm info
    """
    await call.services.namespaces.ensure(name)
    async for group in call.run(command, namespace=name):
        yield group


@family.command("clear namespace")
async def leave_namespace(call: Cmd) -> None:
    """Return to the default namespace

    The default namespace is called `minimega`.
    """
    _move(call, DEFAULT)


@family.command("clear namespace <name>", suggest={"name": "namespace"})
async def destroy_namespace(call: Cmd, name: str) -> str:
    """Kill and remove all a namespace owns

    Its VMs, taps, DHCP servers, VLAN names, queue and saved configurations go, on all its hosts; `all` does so for
    every namespace. A host that does not answer is named, and destroys its part when it is back.
    """
    warnings: list[str] = []
    for each in list(call.services.namespaces.names()) if name == "all" else [name]:
        warnings.append(await call.services.spaces.destroy(each))
        if call.session.namespace == each:
            call.session.namespace = DEFAULT
        if call.services.active.name == each:
            call.services.active.name = DEFAULT
    return "\n".join(warning for warning in warnings if warning)


def _move(call: Cmd, name: str) -> None:
    call.session.namespace = name
    if call.session.source not in ("script", "mesh"):
        call.services.active.name = name
