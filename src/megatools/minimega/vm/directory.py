"""A VM's instance directory `<base>/<id>` and the link that finds it by UUID. Used by `launching`, `fleet`, `recovery`.

Its files `name`, `state`, `config` (commands for `read`, from a cleared configuration) and `taps` are for people and
scripts; the daemon itself reads the journal only.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from megatools.hostkit.errors import Unavailable
from megatools.minimega.vm.backend import Site
from megatools.minimega.vm.fields import config_lines
from megatools.minimega.vm.lifecycle import VmState


def link_path(base: Path, site: Site) -> Path:
    """`<base>/namespaces/<namespace>/<uuid>`."""
    return base / "namespaces" / site.plan.namespace / site.plan.uuid


def make_all(base: Path, sites: Sequence[Site]) -> None:
    """Make the directories of several VMs. Raises Unavailable at the first the disk refuses."""
    for site in sites:
        make(base, site)


def make(base: Path, site: Site) -> None:
    """Make the directory and its files anew. Raises Unavailable when the disk refuses."""
    try:
        site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_name(site)
        (site.directory / "config").write_text("".join(f"{line}\n" for line in config_lines(site.plan.config)))
        write_state(site, VmState.BUILDING)
        link = link_path(base, site)
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..", "..", site.directory.name))
    except OSError as error:
        raise Unavailable(f'cannot make the instance directory "{site.directory}"') from error


def write_name(site: Site) -> None:
    """Write the name."""
    (site.directory / "name").write_text(site.plan.name + "\n")


def write_taps(site: Site) -> None:
    """Write the taps' names, one per line."""
    (site.directory / "taps").write_text("".join(f"{tap}\n" for tap in site.taps))


def write_state(site: Site, state: VmState) -> None:
    """Write the state, if the directory is still there. Raises Unavailable when the disk refuses."""
    try:
        (site.directory / "state").write_text(f"VM_{state}\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unavailable(f'cannot write "{site.directory / "state"}"') from error


def remove(base: Path, site: Site) -> None:
    """Remove the directory and the link; what is already gone is no error."""
    link = link_path(base, site)
    link.unlink(missing_ok=True)
    shutil.rmtree(site.directory, ignore_errors=True)
    try:
        link.parent.rmdir()
    except OSError:  # other VMs of the namespace live there
        return
