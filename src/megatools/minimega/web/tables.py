"""What other hosts told of their VMs, and which of them did not, and why; `everywhere` fills it.

A host that has just been asked is in neither; one that hangs after it told is in both.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from megatools.minimega.lang.answer import Table
from megatools.minimega.mesh.mesh import Arrival, Ending

_log = logging.getLogger(__name__)
ALIVE = b""
"""What a host sends now and then in place of a table that is as it was."""
_OTHER_VERSION = "it may run another version"


class HostTables:
    """The tables of hosts by name, all with the columns `header`."""

    def __init__(self, header: Sequence[str]) -> None:
        self._header = tuple(header)
        self.tables: dict[str, Table] = {}
        self.silent: dict[str, str] = {}
        """Hosts whose VMs are not known, or not how they are now, and why."""

    def hear(self, arrival: Arrival) -> bool:
        """Take what a host sent, whatever it is; says whether that is news."""
        before = self.tables.get(arrival.host), self.silent.get(arrival.host)
        self._take(arrival)
        return before != (self.tables.get(arrival.host), self.silent.get(arrival.host))

    def _take(self, arrival: Arrival) -> None:
        match arrival.ending:
            case None:
                self._read(arrival.host, arrival.payload)
            case Ending.DONE:
                return
            case Ending.TIMED_OUT:
                self.late(arrival.host)
            case Ending.ERROR | Ending.LOST:
                self.miss(arrival.host, arrival.error.partition("\n")[0] or "the connection to it was lost")

    def late(self, host: str) -> None:
        """A host said nothing for some time; what it told before may still be so."""
        if host in self.tables:
            self.silent[host] = "it does not answer; its VMs are shown as they were"
        else:
            self.miss(host, "it does not answer")

    def miss(self, host: str, reason: str) -> None:
        """What a host told, if anything, is no longer so."""
        self.tables.pop(host, None)
        if self.silent.get(host) != reason:  # said once, not each time it is asked
            _log.info('the VMs of "%s" are not shown: %s', host, reason)
        self.silent[host] = reason

    def _read(self, host: str, payload: bytes) -> None:
        if payload == ALIVE:
            if host in self.tables:
                self.silent.pop(host, None)
            return
        try:
            table = msgspec.msgpack.decode(payload, type=Table)
        except msgspec.MsgspecError as error:
            _log.debug('the list of "%s"', host, exc_info=error)
            self.miss(host, f"its list cannot be read here: {_OTHER_VERSION}")
            return
        if table.header != self._header:
            self.miss(host, f"its list has other columns: {_OTHER_VERSION}")
            return
        self.tables[host] = table
        self.silent.pop(host, None)
