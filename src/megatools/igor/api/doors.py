"""The ways to reach igor, all alike: a door takes a request and open files, and gives the answer or raises a kind.

`direct.DirectDoor` is one, `client.SocketDoor` another (the service), `remote.HttpsDoor` (another machine) the third.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from megatools.igor.api.requests import Answer, AnyRequest


class Door(Protocol):
    """Ask igor something; raises the kinds of hostkit.errors."""

    def ask(self, request: AnyRequest, files: Sequence[int] = ()) -> Answer:
        """The answer; `files` are open descriptors that the request refers to by position. They stay open."""
        ...
