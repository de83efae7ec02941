"""Classic words for VM configuration and lifecycle: `vm_memory`, `vm_launch`, `vm_start` and their kin (spec A.2)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from megatools.hostkit.errors import CommandFailed, InvalidInput, Unavailable
from megatools.minimega.commands.classic.table import (
    Arguments,
    Row,
    Special,
    answers,
    cells,
    fill,
    make_family,
    target,
    text,
    word,
    words,
)
from megatools.minimega.commands.services import Cmd
from megatools.minimega.lang.answer import Group, Response
from megatools.minimega.lang.quote import join_words, quote

# The classic word, its argument, the modern field, and what it is.
_FIELDS = (
    ("vm_memory", "[MB]", "memory", "memory of the VMs launched from now on, in MB"),
    ("vm_vcpus", "[N]", "vcpus", "number of virtual CPUs"),
    ("vm_disk", "[path]...", "disks", "disk images"),
    ("vm_cdrom", "[path]", "cdrom", "CD-ROM image; becomes the first boot device"),
    ("vm_kernel", "[path]", "kernel", "kernel to boot directly"),
    ("vm_initrd", "[path]", "initrd", "initial ramdisk"),
    ("vm_qemu", "[path]", "qemu", "QEMU program"),
    ("vm_qemu_append", "[words]...", "qemu-append", "words added to QEMU's command line"),
    ("vm_uuid", "[uuid]", "uuid", "UUID of the next VM; random when unset"),
    ("vm_net", "[spec]...", "networks", "networks, one interface each: [bridge,]<vlan>[,<mac>][,<driver>]"),
)
_CLEARABLE = (*((name, field) for name, _, field, _ in _FIELDS), ("vm_append", "append"), ("vm_snapshot", "snapshot"))
_BLOCK = (
    ("Memory:", "memory", False),
    ("VCPUS:", "vcpus", False),
    ("Disk Paths:", "disks", True),
    ("CDROM Path:", "cdrom", False),
    ("Kernel Path:", "kernel", False),
    ("Initrd Path:", "initrd", False),
    ("Kernel Append:", "append", False),
    ("QEMU Path:", "qemu", False),
    ("QEMU Append:", "qemu-append", True),
    ("Snapshot:", "snapshot", False),
    ("Networks:", "networks", True),
    ("UUID:", "uuid", False),
)
_MONITOR = {"RUNNING": "running", "PAUSED": "paused", "BUILDING": "prelaunch"}
_QUOTED = re.compile(r"""(["'])(.*)\1""")


def _snapshot(arguments: Arguments) -> str:
    value = word(arguments, "true").lower()
    if value not in ("", "true", "false"):
        raise InvalidInput("usage: vm_snapshot [true,false]")
    return f"vm config snapshot {value}".strip()


def _launch(arguments: Arguments) -> str:
    name = word(arguments, "name")
    if name.lstrip("-").isdigit() and int(name) <= 0:
        return ""
    return fill("vm launch kvm {name}", arguments)


def _with_target(command: str) -> Row:
    verb = command.removeprefix("vm_")
    return Row(
        f"{command} [vm]",
        lambda arguments: f"vm {verb} {quote(target(word(arguments, 'vm')))}",
        {"start": "start VMs, all without an argument", "stop": "pause VMs, all without an argument"}[verb],
    )


async def _append(call: Cmd, arguments: Arguments) -> AsyncIterator[Group]:
    """Classic lines had no quoting: the kernel gets the words as typed, less one pair of quotes around all."""
    typed = words(arguments, "words")
    if not typed:
        yield [Response(call.host, _joined(await answers(call, "vm config append")))]
        return
    _, known, rest = call.text.partition("vm_append")
    raw = rest.strip()
    around = _QUOTED.fullmatch(raw)
    if around and around[1] not in around[2]:
        raw = around[2]
    parts = raw.split() if known and "#" not in raw and "\\" not in raw else " ".join(typed).split()
    async for group in call.run_line(f"vm config append {join_words(parts)}"):
        yield group


def _joined(group: Group) -> str:
    """A list as the classic kernel line: its words, without brackets."""
    return text(group).removeprefix("[").removesuffix("]")


async def _start_quit(call: Cmd, _arguments: Arguments) -> AsyncIterator[Group]:
    async for group in call.run_line("vm start all"):
        yield group
    ended = [row["id"] for row in cells(await answers(call, "vm info")) if row["state"] in ("QUIT", "ERROR")]
    if ended:
        async for group in call.run_line(f"vm start {','.join(ended)}"):
            yield group


async def _status(call: Cmd, arguments: Arguments) -> AsyncIterator[str]:
    wanted = word(arguments, "vm")
    rows = [row for row in cells(await answers(call, "vm info summary")) if wanted in ("", row["id"], row["name"])]
    if wanted and not rows:
        raise CommandFailed(f"VM {wanted} not found")
    lines = []
    for row in sorted(rows, key=lambda row: int(row["id"])):
        monitor = _MONITOR.get(row["state"])
        lines.append(
            f"VM {row['id']} : {row['state']}, QMP : {monitor}" if monitor else f"VM {row['id']}: {row['state']}"
        )
    yield "\n".join(lines)


async def _config(call: Cmd, _arguments: Arguments) -> AsyncIterator[str]:
    lines = ["Current VM configuration:"]
    for label, field, is_list in _BLOCK:
        group = await answers(call, f"vm config {field}")
        value = _joined(group) if field == "append" else text(group)
        lines.append(f"{label:<15}{value or ('[]' if is_list else '')}".rstrip())
    yield "\n".join(lines)


def _delete_override(arguments: Arguments) -> str:
    raise Unavailable(
        f'not available yet: "vm_qemu_override del {word(arguments, "id")}"', hint="clear vm_qemu_override drops all"
    )


ROWS: tuple[Row | Special, ...] = (
    *(
        Row(f"{name} {argument}", f"vm config {field} {{{argument.strip('[].')}}}", what)
        for name, argument, field, what in _FIELDS
    ),
    Special("vm_append [words]...", _append, "words for the kernel's command line"),
    Row("vm_snapshot [true or false]", _snapshot, "whether disks are left unchanged (true) or written to (false)"),
    Row("vm_qemu_override", "vm config qemu-override", "show the replacements in QEMU's command line"),
    Row("vm_qemu_override add <match> <replacement>", "vm config qemu-override {match} {replacement}", "add one"),
    Row("vm_qemu_override del <id>", _delete_override, "delete one"),
    Row("clear vm_qemu_override", "clear vm config qemu-override", "drop all replacements"),
    *(Row(f"clear {name}", f"clear vm config {field}", f"restore the default of {name}") for name, field in _CLEARABLE),
    Special("vm_config", _config, "print the configuration of the VMs launched from now on"),
    Row("vm_config save <name>", "vm config save {name}", "save the configuration under a name"),
    Row("vm_config restore <name>", "vm config restore {name}", "restore a saved configuration"),
    Row("vm_config clone <vm>", "vm config clone {vm}", "copy the configuration of a VM"),
    Row("vm_config show", "vm config restore", "list the saved configurations"),
    Row("clear vm_config", "clear vm config", "restore all defaults; saved configurations stay"),
    Row("vm_launch <name or count>", _launch, "launch a number of VMs, or one VM by name; they wait to be started"),
    Row("vm_launch <name or count> <noblock,>", _launch, "the same; waiting is over when the VMs are there"),
    _with_target("vm_start"),
    Special("vm_start quit=true", _start_quit, "start all VMs, those that had quit as well"),
    _with_target("vm_stop"),
    Row(
        "vm_kill <vm>", lambda arguments: f"vm kill {quote(target(word(arguments, 'vm')))}", "kill a VM, or all with -1"
    ),
    Row("vm_flush", "vm flush", "forget the VMs that have quit"),
    Special("vm_status [vm]", _status, "print the state of one VM or of all"),
)
family = make_family("classic vm", "Classic words: virtual machines", ROWS)
