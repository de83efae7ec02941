"""The one table of configuration fields: commands, help, parsing, display and saved lines all come from it.

Used by `commands.vm_config`, the classic words, `rows` and `directory`. Spec B.11 "vm config".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec.structs

from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.hostkit.qemu.probe import QemuFacts
from megatools.minimega.vm import parsing
from megatools.minimega.vm.config import VmConfig
from megatools.minimega.vm.diskspec import show_diskspec
from megatools.minimega.vm.netspec import show_netspec
from megatools.minimega.vm.parsing import Parse, Show, Words

MAX_MEMORY_MIB = 1 << 24
MAX_VCPUS = 255
_NO_FACTS = QemuFacts()


class Shape(StrEnum):
    """How a field's values are written in a command: one word, several, a pair, or a key and a value."""

    ONE = "one"
    MANY = "many"
    PAIR = "pair"
    KEYED = "keyed"


class Block(StrEnum):
    """Under which heading `vm config` shows a field."""

    VM = "VM configuration:"
    KVM = "KVM configuration:"


@dataclass(frozen=True)
class Field:
    """One field: its name in commands, its attribute in VmConfig, and what its values are."""

    name: str
    block: Block
    shape: Shape
    parse: Parse
    show: Show
    help: str
    value: str = "value"
    label: str = ""
    alias: str = ""
    rename: str = ""

    @property
    def attribute(self) -> str:
        """The attribute of VmConfig that holds it."""
        return self.rename or self.name.replace("-", "_")

    def default(self) -> object:
        """The value of a fresh configuration."""
        return self.of(VmConfig())

    def of(self, config: VmConfig) -> object:
        """Its value in a configuration."""
        return getattr(config, self.attribute)


def _one(block: Block, name: str, parse: Parse, help_text: str, *, value: str = "value", **more: str) -> Field:
    return Field(name, block, Shape.ONE, parse, parsing.show_plain, help_text, value, **more)


def _many(block: Block, name: str, parse: Parse, show: Show, help_text: str, *, value: str, **more: str) -> Field:
    return Field(name, block, Shape.MANY, parse, show, help_text, value, **more)


_VM, _KVM = Block.VM, Block.KVM
_LIST = parsing.show_list

FIELDS: tuple[Field, ...] = (
    _one(_VM, "uuid", parsing.known_uuid, "UUID of the next VM; random when not set", value="uuid", label="UUID"),
    _one(_VM, "vcpus", parsing.count(1, MAX_VCPUS), "number of virtual processors", value="number", label="VCPUs"),
    _one(
        _VM,
        "memory",
        parsing.count(1, MAX_MEMORY_MIB),
        "memory in MiB",
        value="megabytes",
        rename="memory_mib",
    ),
    _one(
        _VM, "snapshot", parsing.flag, "write to a throw-away overlay instead of the disk images", value="true or false"
    ),
    _one(_VM, "schedule", parsing.text, "host of the namespace to launch on", value="hostname"),
    _one(_VM, "colocate", parsing.text, "VM to be launched on the same host as", value="vm"),
    _one(
        _VM, "coschedule", parsing.count(-1, 1_000_000), "how many other VMs may share the host; -1 any", value="limit"
    ),
    _one(_VM, "backchannel", parsing.flag, "give the guest a port for its agent", value="true or false"),
    _many(
        _VM,
        "networks",
        parsing.networks,
        parsing.show_networks,
        "network interfaces, each [bridge,]<vlan>[,mac][,driver][,qinq]; replaces all",
        value="netspec",
        alias="net",
    ),
    Field("tags", _VM, Shape.KEYED, parsing.tag, parsing.show_tags, "a tag for new VMs"),
    _one(_KVM, "qemu", parsing.text, "the QEMU program; kvm means this machine's emulator", value="path", label="QEMU"),
    _one(_KVM, "kernel", parsing.text, "kernel to boot directly", value="path"),
    _one(_KVM, "initrd", parsing.text, "initial ram disk for the kernel", value="path"),
    _one(_KVM, "cdrom", parsing.text, "image in the CD drive, booted once", value="path", label="CDROM"),
    _one(_KVM, "state", parsing.text, "saved state to start from", value="path", alias="migrate"),
    _one(_KVM, "cpu", parsing.cpu, "CPU model; host is the best there is under TCG", value="model", label="CPU"),
    _one(_KVM, "machine", parsing.machine, "machine type; empty is QEMU's default PC", value="type"),
    _one(_KVM, "sockets", parsing.count(0, MAX_VCPUS), "CPU sockets; 0 leaves it to QEMU", value="number"),
    _one(_KVM, "cores", parsing.count(0, MAX_VCPUS), "cores per socket; 0 leaves it to QEMU", value="number"),
    _one(_KVM, "threads", parsing.count(0, MAX_VCPUS), "threads per core; 0 leaves it to QEMU", value="number"),
    _one(
        _KVM,
        "serial-ports",
        parsing.count(0, parsing.MAX_SERIAL_PORTS),
        "serial ports, each a socket serialN in the VM's directory",
        value="number",
    ),
    _one(
        _KVM,
        "virtio-ports",
        parsing.virtio_ports,
        "virtio-serial ports, a count or names, each a socket virtio-serialN in the VM's directory",
        value="number or names",
    ),
    _one(_KVM, "vga", parsing.vga, "graphics card; none drops screen, VNC and tablet", value="type", label="VGA"),
    _many(
        _KVM,
        "append",
        parsing.listed,
        _LIST,
        "words of the kernel's command line; under tcg, no_timer_check is added",
        value="arg",
        label="Kernel Append",
    ),
    _many(
        _KVM,
        "disks",
        parsing.disks,
        parsing.show_disks,
        "disk images, each <path>[,interface][,cache]; replaces all",
        value="diskspec",
        alias="disk",
    ),
    _one(_KVM, "usb-use-xhci", parsing.flag, "a USB 3 controller instead of USB 1.1 and 2", value="true or false"),
    _one(_KVM, "tpm-socket", parsing.text, "socket of a TPM emulator (swtpm)", value="path"),
    _one(_KVM, "bidirectional-copy-paste", parsing.flag, "share the clipboard with the console", value="true or false"),
    _many(_KVM, "qemu-append", parsing.listed, _LIST, "further words for QEMU's command line", value="argument"),
    Field(
        "qemu-override",
        _KVM,
        Shape.PAIR,
        parsing.override,
        parsing.show_overrides,
        "replace text in QEMU's command line; replacements apply in order",
    ),
)
BY_NAME = {field.name: field for field in FIELDS} | {field.alias: field for field in FIELDS if field.alias}


def field_named(name: str) -> Field:
    """A field by its name or alias. Raises NotFound."""
    if name not in BY_NAME:
        raise NotFound(f'no vm config field "{name}"', hint=f"one of {', '.join(field.name for field in FIELDS)}")
    return BY_NAME[name]


def set_field(config: VmConfig, name: str, words: Words, facts: QemuFacts = _NO_FACTS) -> VmConfig:
    """The configuration with one field set from words. Raises InvalidInput; fields that add keep what is there."""
    field = field_named(name)
    try:
        value = field.parse(words, facts, field.of(config))
    except InvalidInput as error:
        raise InvalidInput(error.message, hint=error.hint or f"help vm config {field.name}") from error.__cause__
    return _checked(msgspec.structs.replace(config, **{field.attribute: value}))


def _checked(config: VmConfig) -> VmConfig:
    if config.schedule and config.colocate:
        raise InvalidInput("cannot specify schedule and colocate in the same config", hint="clear one of them")
    return config


def clear_field(config: VmConfig, name: str, key: str = "") -> VmConfig:
    """The configuration with one field at its default; with `key`, without that tag (`all`: without tags)."""
    field = field_named(name)
    if key and key != "all" and field.shape is Shape.KEYED:
        tags = {name: value for name, value in config.tags.items() if name != key}
        return msgspec.structs.replace(config, tags=tags)
    return msgspec.structs.replace(config, **{field.attribute: field.default()})


def show_field(config: VmConfig, name: str) -> str:
    """One field's value as text."""
    field = field_named(name)
    return field.show(field.of(config))


def show_config(config: VmConfig) -> str:
    """All fields in labelled blocks, values in one column."""
    blocks: list[str] = []
    width = max(len(_label(field)) for field in FIELDS) + 2
    for block in Block:
        lines = [block.value]
        for field in FIELDS:
            if field.block is block:
                shown = field.show(field.of(config)) or ("[]" if field.shape is not Shape.ONE else "")
                lines.append(f"{_label(field) + ':':<{width}}{shown}".rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _label(field: Field) -> str:
    return field.label or field.name.replace("-", " ").title()


def config_lines(config: VmConfig) -> list[str]:
    """The commands that make this configuration from a cleared one, as they are saved to files."""
    lines: list[str] = []
    for field in FIELDS:
        value = field.of(config)
        if value == field.default():
            continue
        lines += [f"vm config {field.name} {words}" for words in _command_words(field, config)]
    return lines


def _command_words(field: Field, config: VmConfig) -> list[str]:
    match field.shape:
        case Shape.ONE:
            return [_quoted(field.show(field.of(config)))]
        case Shape.MANY:
            return [" ".join(_quoted(word) for word in _list_words(field, config))]
        case Shape.PAIR:
            return [f"{_quoted(match)} {_quoted(text)}" for match, text in config.qemu_override]
        case Shape.KEYED:
            return [f"{_quoted(key)} {_quoted(text)}" for key, text in sorted(config.tags.items())]


def _list_words(field: Field, config: VmConfig) -> list[str]:
    """The words of a list field, each as it would be typed without quotes."""
    match field.name:
        case "networks":
            return [show_netspec(spec) for spec in config.networks]
        case "disks":
            return [show_diskspec(spec) for spec in config.disks]
        case "append":
            return list(config.append)
        case _:
            return list(config.qemu_append)


def _quoted(word: str) -> str:
    if word and not any(character in word for character in " \t\"'#\\"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
