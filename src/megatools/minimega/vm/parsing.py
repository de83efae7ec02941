"""From the words of `vm config <field> ...` to values, and back to text: the kinds of fields. Pure; used by `fields`.

A parser takes the words, what QEMU knows, and the old value; it raises InvalidInput with the limit and the value.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias, cast

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.qemu.probe import QemuFacts
from megatools.minimega.vm.config import DiskSpec, NicSpec
from megatools.minimega.vm.diskspec import parse_diskspecs, show_diskspec
from megatools.minimega.vm.netspec import parse_netspec, show_netspec

Words: TypeAlias = Sequence[str]
Parse: TypeAlias = Callable[[Words, QemuFacts, object], object]
Show: TypeAlias = Callable[[object], str]

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})
MAX_SERIAL_PORTS = 8
MAX_VIRTIO_PORTS = 120
_VGA = ("std", "cirrus", "vmware", "qxl", "virtio", "tcx", "cg3", "none")


def one(words: Words) -> str:
    """The only word. Raises InvalidInput for none or more."""
    if len(words) != 1:
        raise InvalidInput(f"one value is needed, {len(words)} were given", hint="quote a value that holds spaces")
    return words[0]


def text(words: Words, _facts: QemuFacts, _old: object) -> object:
    """A word as it is."""
    return one(words)


def listed(words: Words, _facts: QemuFacts, _old: object) -> object:
    """All words, in order."""
    return tuple(words)


def count(low: int, high: int) -> Parse:
    """A whole number from `low` to `high`."""

    def parse(words: Words, _facts: QemuFacts, _old: object) -> object:
        word = one(words)
        try:
            value = int(word)
        except ValueError:
            raise InvalidInput(
                f'strconv.ParseUint: parsing "{word}": invalid syntax', hint=f"a whole number from {low} to {high}"
            ) from None
        if not low <= value <= high:
            raise InvalidInput(
                f'strconv.ParseUint: parsing "{word}": value out of range', hint=f"a whole number from {low} to {high}"
            )
        return value

    return parse


def flag(words: Words, _facts: QemuFacts, _old: object) -> object:
    """True or false, as Go reads them."""
    word = one(words).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise InvalidInput(f'strconv.ParseBool: parsing "{words[0]}": invalid syntax', hint="true or false")


def known_uuid(words: Words, _facts: QemuFacts, _old: object) -> object:
    """A UUID, in lower case with hyphens; an empty word clears it."""
    word = one(words)
    try:
        return str(uuid.UUID(word)) if word else ""
    except ValueError:
        raise InvalidInput(f'invalid UUID: "{word}"', hint="like 11111111-2222-3333-4444-555555555555") from None


def cpu(words: Words, facts: QemuFacts, _old: object) -> object:
    """A CPU model this QEMU knows, options after a comma allowed."""
    word = one(words)
    if facts.cpus and word.partition(",")[0] not in facts.cpus | {"host", "max"}:
        raise InvalidInput(f"invalid QEMU CPU: `{word}`, see help", hint="`qemu-system-x86_64 -cpu help` lists them")
    return word


def machine(words: Words, facts: QemuFacts, _old: object) -> object:
    """A machine type this QEMU knows; an empty word means the default."""
    word = one(words)
    if word and facts.machines and word.partition(",")[0] not in facts.machines:
        raise InvalidInput(
            f"invalid QEMU machine: `{word}`, see help", hint="`qemu-system-x86_64 -machine help` lists them"
        )
    return word


def vga(words: Words, _facts: QemuFacts, _old: object) -> object:
    """A graphics card; `none` drops screen, VNC and tablet."""
    word = one(words)
    if word not in _VGA:
        raise InvalidInput(f'invalid vga "{word}"', hint=f"one of {', '.join(_VGA)}")
    return word


def virtio_ports(words: Words, _facts: QemuFacts, _old: object) -> object:
    """A count, or names joined by commas."""
    word = one(words)
    names: Collection[str] = [name for name in word.split(",") if name]
    size = int(word) if word.isdigit() else len(names)
    if size > MAX_VIRTIO_PORTS:
        raise InvalidInput(
            f"{size} virtio ports are more than the limit of {MAX_VIRTIO_PORTS}", hint=f"0 to {MAX_VIRTIO_PORTS}"
        )
    if not word.isdigit() and len(set(names)) != len(word.split(",")):
        raise InvalidInput(f'virtio port names "{word}" are not distinct', hint="a count, or names joined by commas")
    return "" if word == "0" else word


def networks(words: Words, facts: QemuFacts, _old: object) -> object:
    """Interfaces; they replace all others."""
    return tuple(parse_netspec(word, facts.nic_drivers) for word in words)


def disks(words: Words, _facts: QemuFacts, _old: object) -> object:
    """Disks; they replace all others."""
    return parse_diskspecs(words)


def tag(words: Words, _facts: QemuFacts, old: object) -> object:
    """A key and a value, beside those there are."""
    if len(words) != 2:
        raise InvalidInput("a tag needs a key and a value", hint="vm config tags <key> <value>")
    return {**cast(dict[str, str], old), words[0]: words[1]}


def override(words: Words, _facts: QemuFacts, old: object) -> object:
    """A match and its replacement, after those there are."""
    if len(words) != 2 or not words[0].strip():
        raise InvalidInput("an override needs a match and a replacement", hint="vm config qemu-override <match> <repl>")
    for word in words:
        try:
            shlex.split(word)
        except ValueError as error:
            raise InvalidInput(f'invalid override "{word}": {str(error).lower()}', hint="close every quote") from None
    return (*cast(tuple[tuple[str, str], ...], old), (words[0], words[1]))


def show_plain(value: object) -> str:
    """A value as it is typed."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def show_list(value: object) -> str:
    """`[a b c]`; nothing when empty."""
    return _bracketed(cast(tuple[str, ...], value))


def show_networks(value: object) -> str:
    """Netspecs in brackets."""
    return _bracketed([show_netspec(spec) for spec in cast(tuple[NicSpec, ...], value)])


def show_disks(value: object) -> str:
    """Diskspecs in brackets."""
    return _bracketed([show_diskspec(spec) for spec in cast(tuple[DiskSpec, ...], value)])


def show_tags(value: object) -> str:
    """Lines `key -> value`, sorted."""
    return "\n".join(f"{key} -> {text}" for key, text in sorted(cast(dict[str, str], value).items()))


def show_overrides(value: object) -> str:
    """Lines `match -> replacement`, in the order they are applied."""
    return "\n".join(f"{match} -> {text}" for match, text in cast(tuple[tuple[str, str], ...], value))


def _bracketed(items: Sequence[str]) -> str:
    return f"[{' '.join(items)}]" if items else ""
