"""All families of classic words, for the registry (`app`)."""

from __future__ import annotations

from megatools.minimega.commands.classic import general, later, network, vm, vm_list
from megatools.minimega.commands.services import Services
from megatools.minimega.lang.registry import Family

FAMILIES: tuple[Family[Services], ...] = (
    general.family,
    vm.family,
    vm_list.family,
    network.family,
    later.family,
)
