"""`vm config`: one command per field, made from the table in `vm.fields`; saved configurations (spec B.11)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from megatools.hostkit.errors import InvalidState, NotFound
from megatools.minimega.commands.services import Cmd, Services, request
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.vm.config import VmConfig
from megatools.minimega.vm.editing import edit
from megatools.minimega.vm.fields import FIELDS, Field, Shape, clear_field, show_config, show_field
from megatools.minimega.vm.operations import CloneConfig

family: Family[Services] = Family("vm config", "VM configuration")


@family.command("vm config", effect=Effect.NONE)
async def vm_config(call: Cmd) -> str:
    """Print the configuration of the VMs launched from now on

    Each field has a command of its own: `vm config memory 512` sets it, `vm config memory` prints it and
    `clear vm config memory` restores its default. Every namespace has its own configuration.
    """
    return show_config(call.services.namespaces.get(call.namespace).config)


@family.command("vm config save <name>", effect=Effect.NAMESPACE)
async def vm_config_save(call: Cmd, name: str) -> None:
    """Save the configuration under a name, in place of an older one"""
    space = await call.services.namespaces.ensure(call.namespace)
    await space.save_config(name)


@family.command("vm config restore [name]", effect=Effect.NAMESPACE)
async def vm_config_restore(call: Cmd, name: str | None = None) -> str:
    """Restore a saved configuration, or list their names"""
    space = await call.services.namespaces.ensure(call.namespace)
    if name is not None:
        await space.restore_config(name)
        return ""
    names = space.saved_names()
    if not names:
        raise NotFound("no vm configs saved", hint="vm config save <name>")
    return "\n".join(names)


@family.command("vm config clone <vm name or id or uuid>", suggest={"vm": "vm"}, effect=Effect.NAMESPACE)
async def vm_config_clone(call: Cmd, vm: str) -> None:
    """Copy the configuration a VM was launched with

    The UUID is not copied. Fixed MAC addresses are: clear or change them before you launch a second VM.
    """
    results = await call.services.hosts.run(request(call, CloneConfig(vm)))
    found = [result.answer.data for result in results if result.answer is not None and result.answer.data is not None]
    if not found:
        raise NotFound(results[0].error if results else f"vm not found: {vm}", hint=results[0].hint if results else "")
    await _take(call, msgspec.json.decode(found[0], type=VmConfig))


@family.command("clear vm config", effect=Effect.NAMESPACE)
async def clear_vm_config(call: Cmd) -> None:
    """Restore the defaults of all fields; saved configurations stay"""
    await _take(call, VmConfig())


async def _take(call: Cmd, config: VmConfig) -> None:
    space = await call.services.namespaces.ensure(call.namespace)
    await space.set_config(config)


def _words(arguments: dict[str, object]) -> Sequence[str]:
    """The words given, in the order of the pattern; none when there was no value."""
    words: list[str] = []
    for value in arguments.values():
        if isinstance(value, str):
            words.append(value)
        elif isinstance(value, tuple):
            words += [word for word in value if isinstance(word, str)]
    return words


def _setter(field: Field) -> Callable[..., Awaitable[str]]:
    async def handle(call: Cmd, **arguments: object) -> str:
        config = call.services.namespaces.get(call.namespace).config
        words = _words(arguments)
        if not words:
            return show_field(config, field.name)
        if field.shape is Shape.KEYED and len(words) == 1:
            return config.tags.get(words[0], "")
        edited = await edit(config, field.name, words, call.services.files)
        if field.name == "schedule":
            call.services.namespaces.membership.check_host(call.namespace, edited.schedule)
        await _take(call, edited)
        return ""

    return handle


def _clearer(field: Field) -> Callable[..., Awaitable[None]]:
    async def handle(call: Cmd, **arguments: object) -> None:
        config = call.services.namespaces.get(call.namespace).config
        key = "".join(_words(arguments))
        if key and key != "all" and key not in config.tags:
            raise InvalidState(f'no tag "{key}" is configured', hint="vm config tags lists them")
        await _take(call, clear_field(config, field.name, key))

    return handle


def _patterns(field: Field, name: str) -> list[str]:
    start = f"vm config {name}"
    match field.shape:
        case Shape.ONE:
            return [f"{start} [{field.value}]"]
        case Shape.MANY:
            return [f"{start} [{field.value}]..."]
        case Shape.PAIR:
            return [start, f"{start} <match> <replacement>"]
        case Shape.KEYED:
            return [start, f"{start} <key> [value]"]


def _long(field: Field) -> str:
    default = field.show(field.default()) or "empty"
    return f"Without a value it is printed. Default: {default}. `clear vm config {field.name}` restores it."


def _declare(field: Field) -> None:
    names = [field.name] if field.name.startswith(field.alias) else [field.name, field.alias]
    setting = [pattern for name in names if name for pattern in _patterns(field, name)]
    family.add(setting, _setter(field), f"Show or set: {field.help}", _long(field), effect=Effect.NAMESPACE)
    suffix = " [key or all]" if field.shape is Shape.KEYED else ""
    clearing = [f"clear vm config {name}{suffix}" for name in names if name]
    family.add(clearing, _clearer(field), f"Restore the default of: {field.help}", effect=Effect.NAMESPACE)


for _field in FIELDS:
    _declare(_field)
