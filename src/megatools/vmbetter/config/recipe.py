"""What is to be built: the merged content of a config and its parents.

Made by the merge, read by the plan and by `--dry-run`. Each entry says where it came from.
"""

from __future__ import annotations

import msgspec

from megatools.vmbetter.config.source import Position


class Entry(msgspec.Struct, frozen=True):
    """One value and the place it was written at."""

    value: str
    origin: Position


class Recipe(msgspec.Struct, frozen=True):
    """A merged config: files in the order they were read, packages without repeats, the rest in order of effect.

    `digests` are the SHA-256 of the files as they were read: they may be another's by the end of a build.
    Overlays are absolute paths of existing folders; postbuild entries are whole scripts.
    """

    files: tuple[str, ...]
    packages: tuple[Entry, ...]
    overlays: tuple[Entry, ...]
    postbuilds: tuple[Entry, ...]
    warnings: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()


def text(recipe: Recipe) -> str:
    """The recipe as `--dry-run` shows it."""
    lines = ["configs:", *(f"  {path}" for path in recipe.files)]
    for title, entries in (("packages", recipe.packages), ("overlays", recipe.overlays)):
        width = max((len(entry.value) for entry in entries), default=0)
        lines += [f"{title}:", *(f"  {entry.value:<{width}}  # {entry.origin}" for entry in entries)]
    lines.append("postbuild:")
    for entry in recipe.postbuilds:
        lines += [f"  # {entry.origin}", *(f"  | {line}" for line in entry.value.strip("\n").splitlines())]
    return "\n".join(lines) + "\n"
