"""Where nodes of this mesh were met, so that they can be dialled again: pure but for its file.

Used by `mesh.contacts`. Scouting finds nodes where multicast works; where it does not, Zenoh never looks again for one
that it lost, and a node that was away would stay away.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from megatools.hostkit.errors import MegaError, chain_text
from megatools.hostkit.files import write_atomically

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 60.0
_KEPT_S = 7 * 86400.0
_WRITE_EVERY_S = 86400.0  # so that the file says who was met lately
_AT_ONCE = 3


class Entry(msgspec.Struct):
    """A node as it was last met: `host:port` of its engine, when (seconds since the epoch), and how to try again."""

    address: str
    met_s: float
    pause_s: float = 0.0
    due_s: float = 0.0


class PeerBook:
    """Nodes met, by name, and addresses we were given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries: dict[str, Entry] = {}
        self._written: dict[str, tuple[str, int]] = {}  # addresses, and the day each node was met
        self._refused = False
        if path is not None:
            self._read(path)

    def met(self, name: str, address: str, now_s: float) -> None:
        """A node is there."""
        self._entries[name] = Entry(address, now_s)

    def due(self, present: Collection[str], now_s: float) -> Sequence[str]:
        """The addresses to dial now: of nodes that are not present, each less and less often."""
        for name in [name for name, entry in self._entries.items() if now_s - entry.met_s > _KEPT_S]:
            del self._entries[name]
        absent = [entry for name, entry in self._entries.items() if name not in present and entry.due_s <= now_s]
        chosen = sorted(absent, key=lambda entry: entry.due_s)[:_AT_ONCE]
        for entry in chosen:
            entry.pause_s = min(max(2 * entry.pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            entry.due_s = now_s + entry.pause_s
        return [entry.address for entry in chosen]

    def save(self) -> None:
        """Write the file, if it says something else than before; when a node was met it says to the day."""
        said = {name: (entry.address, int(entry.met_s // _WRITE_EVERY_S)) for name, entry in self._entries.items()}
        if self._path is None or said == self._written:
            return
        kept = {name: (entry.address, int(entry.met_s)) for name, entry in self._entries.items()}
        try:
            write_atomically(self._path, msgspec.json.encode(kept))
        except MegaError as error:
            if not self._refused:
                _log.warning("mesh: cannot keep the addresses of other nodes: %s; tried again", chain_text(error))
            self._refused = True
            return
        self._refused = False
        self._written = said

    def _read(self, path: Path) -> None:
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=dict[str, tuple[str, float]])
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning('mesh: "%s" is not used: %s', path, error)
            return
        self._entries = {name: Entry(address, met_s) for name, (address, met_s) in kept.items()}
