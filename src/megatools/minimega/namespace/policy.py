"""How a namespace counts the load of its hosts when it spreads VMs over them (spec B.12 `ns load`); pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import assert_never

from megatools.minimega.vm.rooms import Room


class LoadFunction(StrEnum):
    """How busy a host counts as: promised processors or memory as a share of what it has, or promised interfaces."""

    CPU = "cpucommit"
    NETWORK = "netcommit"
    MEMORY = "memcommit"


def load_of(function: LoadFunction) -> Callable[[Room], float]:
    """How busy a room is, by a load function."""
    match function:
        case LoadFunction.CPU:
            return lambda room: room.vcpus / room.cpus
        case LoadFunction.NETWORK:
            return lambda room: float(room.nics)
        case LoadFunction.MEMORY:
            return lambda room: room.promised_mib / room.memory_mib
        case _:
            assert_never(function)
