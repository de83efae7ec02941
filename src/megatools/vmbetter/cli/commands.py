"""The commands beside building: the cache, a shell in a tree, a starting config, manifests, completion.

Called by the entry point, which finds them in `COMMANDS`.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import click
import msgspec

from megatools.hostkit.errors import AlreadyExists, InvalidInput, Unavailable
from megatools.hostkit.units import parse_bytes
from megatools.vmbetter import manifest as manifests
from megatools.vmbetter.building import Options
from megatools.vmbetter.cache import Cache, default_root
from megatools.vmbetter.cli import completion
from megatools.vmbetter.cli.journal import Journal
from megatools.vmbetter.cli.options import FILE, FOLDER, where, with_source

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_CACHE = click.option("--cache", "root", type=FOLDER, metavar="DIR", help="folder of the cache")
_START = """// {name}.conf: an image of your own. Build it with:  sudo ./bin/vmbetter {name}.conf
//
// Lines like this one are comments. A key may be given more than once: its values add up.

// Configs this one begins with; theirs come first. Looked for beside this file, then in the working directory.
// parents = "misc/vmbetter_configs/default_amd64.conf"

// Debian packages; what they depend on comes along. An image needs a kernel to boot:
// linux-image-cloud-amd64 for VMs, linux-image-amd64 for real machines too.
packages = "linux-image-amd64 systemd-sysv udev iproute2 iputils-ping"

// A folder whose files are copied over the packages, for example {name}_overlay/etc/motd; programs in it must be
// executable. Looked for in the working directory, then beside this file.
// overlay = "{name}_overlay"

// The next key counts only where the image is for this architecture; !amd64: where it is not.
// +build amd64
packages = "less"

// Commands run inside the image, as root, at the end. The build fails if the last one does.
postbuild = `
    set -e
    passwd --delete root
    echo {name} > /etc/hostname
    systemctl enable systemd-networkd serial-getty@ttyS0
    printf '[Match]\\nName=e*\\n[Network]\\nDHCP=yes\\n' > /etc/systemd/network/80-dhcp.network
`
"""


@click.group("cache")
def _cache() -> None:
    """What earlier builds left, for later ones to be quick."""


@_cache.command("list")
@_CACHE
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def _list(root: Path | None, as_json: bool) -> None:
    """What the cache holds, least recently used first."""
    held = Cache(root or default_root()).contents()
    if as_json:
        click.echo(msgspec.json.encode(held).decode())
        return
    packages = [one for one in held if one.kind == "debs"]
    for one in held:
        if one.kind != "debs":
            day = time.strftime("%Y-%m-%d", time.localtime(one.used))
            click.echo(f"{_size(one.size):>11}  {day}  {one.kind:<9} {one.key[:16]}  {one.about}")
    click.echo(f"{_size(sum(one.size for one in packages)):>11}  {len(packages)} Debian packages")
    click.echo(f"{_size(sum(one.size for one in held)):>11}  all")


@_cache.command("prune")
@_CACHE
@click.option("--keep", default="", metavar="SIZE", help="remove the least recently used until at most this is left")
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="remove what was not used for so long")
@click.option("--all", "everything", is_flag=True, help="remove everything")
@click.option("--json", "as_json", is_flag=True, help="print what was removed as JSON")
def _prune(root: Path | None, keep: str, older_than: float | None, everything: bool, as_json: bool) -> None:
    """Remove what was not used lately; without options, what was not used for 30 days."""
    if everything and (keep or older_than is not None):
        raise InvalidInput("--all leaves nothing for --keep or --older-than")
    keep_bytes = 0 if everything else parse_bytes(keep) if keep else sys.maxsize
    days = 30.0 if older_than is None and not keep and not everything else older_than
    cache = Cache(root or default_root())
    with cache.held(lambda text: click.echo(f"vmbetter: {text}", err=True)):
        removed = cache.prune(keep_bytes=keep_bytes, older_than_s=None if days is None else days * 86400)
    if as_json:
        click.echo(msgspec.json.encode(removed).decode())
        return
    click.echo(f"removed {len(removed)} entries, {_size(sum(one.size for one in removed))}")


def _size(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


@click.command("shell")
@click.argument("config", type=FILE, shell_complete=completion.configs)
@with_source
@_CACHE
def _shell(
    config: Path, root: Path | None, suite: str, mirror: str, components: str, keyring: Path | None, architecture: str,
    debs: tuple[Path, ...], engine: str, debootstrap_append: str, lock: Path | None, constraints: str,
) -> None:  # fmt: skip
    """Look inside CONFIG's tree: as a failed postbuild left it, or as it is in the image. Changes are never built.

    The options are those of the build; the tree of a failed one needs none of them.
    """
    from megatools.vmbetter.shell import shell

    asked = where(suite, mirror, components, keyring, architecture, debs, engine, debootstrap_append, lock, constraints)
    options = Options(constraints=asked.constraints, source=asked.source, lock=asked.lock, cache_root=root)
    with Journal("info") as journal:
        shell(config, output_dir=Path.cwd(), report=journal.report, options=options)


@click.command("init")
@click.argument("name")
def _init(name: str) -> None:
    """Write NAME.conf, a commented config to start from."""
    name = name.removesuffix(".conf")
    path = Path(f"{name}.conf")
    if not _NAME.fullmatch(path.stem):
        hint = "letters, digits, dots and dashes: it names files, and the machine"
        raise InvalidInput(f'"{path.stem}" is no name for an image', hint=hint)
    try:
        with path.open("x") as stream:
            stream.write(_START.format(name=path.stem))
    except FileExistsError:
        raise AlreadyExists(f'"{path}" is there already') from None
    except OSError as error:
        raise Unavailable(f'cannot write "{path}"') from error
    click.echo(f"wrote {path}; build it with: vmbetter {path}")


@click.command("manifest")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option("--spdx", "as_spdx", is_flag=True, help="print an SPDX 2.3 document")
def _manifest(file: Path, as_json: bool, as_spdx: bool) -> None:
    """What FILE (an image, or NAME.manifest) is made of."""
    found = manifests.find(file)
    if as_spdx:
        click.echo(msgspec.json.format(msgspec.json.encode(manifests.spdx(found))).decode())
    elif as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        click.echo(manifests.text(found))


@click.command("diff")
@click.argument("one", type=FILE)
@click.argument("other", type=FILE)
def _diff(one: Path, other: Path) -> None:
    """What changed from image ONE to image OTHER: packages, configs, overlay files, scripts."""
    lines = manifests.difference(manifests.find(one), manifests.find(other))
    click.echo("\n".join(lines) if lines else "nothing changed")


@click.command("completion")
@click.argument("shell", type=click.Choice(list(completion.SCRIPTS)))
def _completion(shell: str) -> None:
    """Print a script that completes vmbetter's words in a shell: put it where the shell looks, or eval it."""
    click.echo(completion.SCRIPTS[shell], nl=False)


COMMANDS: dict[str, click.Command] = {
    "cache": _cache,
    "shell": _shell,
    "init": _init,
    "manifest": _manifest,
    "diff": _diff,
    "completion": _completion,
}
