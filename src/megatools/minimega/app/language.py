"""All command families in the order of the manual: the whole language in one list."""

from __future__ import annotations

from megatools.minimega.commands import (
    bridges,
    cluster,
    deploy,
    dnsmasq,
    file,
    general,
    log,
    mesh,
    namespaces,
    ns,
    ns_bridge,
    shell,
    taps,
    vlans,
    vm_config,
    vm_info,
    vm_lifecycle,
    vm_screenshot,
    vm_tag,
    web,
)
from megatools.minimega.commands.classic.families import families as classic_families
from megatools.minimega.commands.services import Services
from megatools.minimega.lang.builtins import builtins
from megatools.minimega.lang.registry import Family, Registry


def registry() -> Registry[Services]:
    """The registry of the daemon's commands. Raises at start-up when two contradict each other."""
    families: list[Family[Services]] = [
        general.family,
        vm_config.family,
        vm_lifecycle.family,
        vm_info.family,
        vm_tag.family,
        vm_screenshot.family,
        namespaces.family,
        ns.family,
        ns_bridge.family,
        vlans.family,
        taps.family,
        bridges.family,
        dnsmasq.family,
        deploy.family,
        file.family,
        mesh.family,
        cluster.family,
        web.family,
        shell.family,
        log.family,
        builtins(),
        *classic_families(),
    ]
    return Registry(families)
