"""Who asks; any part of igor may use it. Made by the front doors from what the kernel says, never from the request."""

from __future__ import annotations

import msgspec


class Person(msgspec.Struct, frozen=True):
    """A user of this machine, or of a token; `groups` holds group names."""

    uid: int
    name: str
    groups: frozenset[str] = frozenset()
    admin: bool = False
