"""GRUB: the per-node files of UEFI nodes. Pure; `boot.layout` and the set-up call it.

A network-booted GRUB with the prefix `/grub` looks for `grub.cfg-01-MAC`, then `grub.cfg-HEXADDRESS`, then `grub.cfg`
there (GRUB 2.06 manual, "Network"). Older ones read `grub.cfg` only: the default one the set-up writes looks itself.
"""

from __future__ import annotations

_SPECIAL = set("\\$'`;&|<>{}#*?[]~")

DEFAULT_PATH = "grub/grub.cfg"
DEFAULT_TEXT = """\
# Written by igor setup; yours to change. Nodes that igor gave somebody have files of their own beside it.
set timeout=3
regexp --set=1:m1 --set=2:m2 --set=3:m3 --set=4:m4 --set=5:m5 --set=6:m6 \
'^([0-9a-f]{1,2}):([0-9a-f]{1,2}):([0-9a-f]{1,2}):([0-9a-f]{1,2}):([0-9a-f]{1,2}):([0-9a-f]{1,2})' "$net_default_mac"
if [ -f "$prefix/grub.cfg-01-$m1-$m2-$m3-$m4-$m5-$m6" ]; then
    source "$prefix/grub.cfg-01-$m1-$m2-$m3-$m4-$m5-$m6"
fi
menuentry "local disk" { exit }
"""


def text(name: str, args: str, *, has_initrd: bool = True) -> str:
    """The file of each node of a reservation."""
    words = "".join(f" {_word(word)}" for word in _kernel_words(args))
    initrd = f"    initrd /igor/{name}-initrd\n" if has_initrd else ""
    return f'set default=0\nset timeout=0\nmenuentry "{name}" {{\n    linux /igor/{name}-kernel{words}\n{initrd}}}\n'


def _kernel_words(args: str) -> list[str]:
    """Kernel arguments as Linux parses them: double quotes hold a word together. GRUB writes the quotes anew."""
    words, inside = [""], False
    for character in args:
        if character == '"':
            inside = not inside
        elif character.isspace() and not inside:
            words.append("")
        else:
            words[-1] += character
    return [word for word in words if word]


def _word(word: str) -> str:
    """A kernel argument as one literal word of GRUB's language."""
    if not _SPECIAL & set(word) and " " not in word:
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def node_path(key: str) -> str:
    """Where a node looks, by its `layout.node_key`."""
    return f"grub/grub.cfg-{key}"
