"""All families of classic words, for the registry (`app`)."""

from __future__ import annotations

from megatools.minimega.commands.classic import general, later, mesh, network, vm, vm_list
from megatools.minimega.commands.services import Services
from megatools.minimega.lang.registry import Family


def families() -> tuple[Family[Services], ...]:
    """The families, in the order of the manual."""
    return (general.family, vm.family, vm_list.family, network.family, mesh.family, later.family)
