"""What `igor setup` does; every step looks first whether it has been done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import megatools
from megatools.hostkit import proc
from megatools.hostkit.errors import NotFound, PermissionDenied, Unavailable
from megatools.hostkit.files import write_atomically
from megatools.igor.api.engine import open_engine
from megatools.igor.boot import grub, ipxe
from megatools.igor.model.config import Config, load
from megatools.igor.store.store import DATABASE

UNITS = (
    "igor.socket",
    "igor.service",
    "igor-tick.service",
    "igor-tick.timer",
    "igor-hook@.service",
    "igor-web.service",
)
_UNIT_DIRECTORY = Path("/etc/systemd/system")
_SAMPLE = """{
	"tftproot" : "%s",
	"prefix" : "kn",
	"start" : 1,
	"end" : 520,
	"rackwidth" : 8,
	"rackheight" : 5
}
"""


def set_up(config_path: Path, tftproot: str, *, service: bool) -> Iterator[str]:
    """Do what is missing and say so, a line for each step.

    Raises PermissionDenied (not root), Unavailable, and what loading the configuration raises.
    """
    if config_path.exists():
        yield f'"{config_path}" is there already'
    else:
        write_atomically(config_path, _SAMPLE % _with_slash(tftproot or "/tftpboot/"), 0o644)
        yield f'wrote "{config_path}": edit it to describe your cluster'
    config = load(config_path)
    if tftproot and Path(tftproot) != config.root:
        yield f'"{config_path}" keeps the TFTP root "{config.tftproot}"'
    yield from _directories(config)
    yield from _loader_files(config)
    yield from _store(config)
    yield from _hints(config)
    if service:
        yield from _units(config, config_path)


def _with_slash(path: str) -> str:
    return os.path.abspath(path).rstrip("/") + "/"


def _directories(config: Config) -> Iterator[str]:
    for place in (config.root, config.root / "pxelinux.cfg", config.root / "igor", config.root / "pxelinux.cfg/igor"):
        if place.is_dir():
            continue
        try:
            place.mkdir(mode=0o755, parents=True)
            place.chmod(0o755)
        except PermissionError as error:
            raise PermissionDenied(f'cannot make "{place}"', hint="sudo igor setup") from error
        except OSError as error:
            raise Unavailable(f'cannot make "{place}"') from error
        yield f'made "{place}"'


def _loader_files(config: Config) -> Iterator[str]:
    """What GRUB and iPXE read first; the site may change them."""
    for layout, path, text in (
        ("grub", grub.DEFAULT_PATH, grub.DEFAULT_TEXT),
        ("ipxe", ipxe.DEFAULT_PATH, ipxe.DEFAULT_TEXT),
    ):
        place = config.root / path
        if layout not in config.boot.layouts or place.exists():
            continue
        place.parent.mkdir(mode=0o755, exist_ok=True)
        place.parent.chmod(0o755)
        write_atomically(place, text, 0o644)
        yield f'wrote "{place}"'


def _store(config: Config) -> Iterator[str]:
    new = not (config.state / DATABASE).exists()
    open_engine(config).store.close()
    yield f'made the store in "{config.state}"' if new else f'the store in "{config.state}" is there already'
    old = config.root / "igor" / "reservations.json"
    if new and old.exists() and old.stat().st_size:
        yield f"the original's reservations can be taken over: igor import {old}"


def _hints(config: Config) -> Iterator[str]:
    if not (config.root / "pxelinux.0").exists() and not (config.root / "lpxelinux.0").exists():
        yield f'note: there is no pxelinux.0 in "{config.root}"; packages pxelinux and syslinux-common have it'
    default = config.root / "pxelinux.cfg" / "default"
    if not default.exists():
        yield f'note: there is no "{default}": nodes without a reservation boot nothing'


def _units(config: Config, config_path: Path) -> Iterator[str]:
    tree = Path(megatools.__file__).resolve().parents[2]
    source = tree / "packaging" / "igor"
    if not source.is_dir():
        raise NotFound(f'the units are not in "{source}"', hint="set igor up from the unpacked Mega tools")
    changed = False
    for name in UNITS:
        text = (source / name).read_text().replace("@IGOR@", str(tree / ".venv" / "bin" / "igor"))
        text = text.replace("@CONFIG@", str(config_path))
        text = text.replace("@TFTPROOT@", str(config.root)).replace("@SOCKET@", config.socket)
        place = _UNIT_DIRECTORY / name
        if place.exists() and place.read_text() == text:
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PermissionDenied(f'cannot make "{place.parent}"', hint="sudo igor setup -service") from error
        write_atomically(place, text, 0o644)
        changed = True
        yield f'wrote "{place}"'
    if not Path("/run/systemd/system").is_dir():
        yield "systemd does not run here: run igor serve and, every minute, igor tick"
        return
    if changed:
        proc.run_sync(["systemctl", "daemon-reload"], timeout_s=60)
    proc.run_sync(["systemctl", "enable", "--now", "igor.socket", "igor-tick.timer"], timeout_s=60)
    yield "igor.socket and igor-tick.timer are enabled"
