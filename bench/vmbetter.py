"""Building: default_amd64.conf to kernel and initrd, against the original's path, in one run.

The reference is debootstrap, copying the overlays, and `find | cpio | gzip -9` of the whole tree, with /boot, the
documentation and the .deb files in it, as the original packs it; its postbuild is left out. Both get the same packages
from this disk, without a network; ours makes everything else anew (`--no-cache`): tree, overlays, postbuild, packing.
Then what it costs to build again after a change; of `tiny`, when nothing has changed, and with its packages' tree from
the cache and all that comes after it anew. Then how long `tiny` boots. Needs root, and some minutes.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import vmbetter_boot
from bench.promise import Options, Result
from megatools.hostkit.bootstrap import debs
from megatools.vmbetter import lock as locks
from megatools.vmbetter.cache import Cache, default_root
from megatools.vmbetter.config.merge import load

_REPOSITORY = Path(__file__).resolve().parents[1]
_CONFIGS = _REPOSITORY / "misc/vmbetter_configs"
_VMBETTER = [sys.executable, "-m", "megatools.vmbetter.cli", "-q"]
_PACK = 'cd "$0" && find . -print0 | cpio --quiet -0 -o -H newc | gzip -9 > "$1"'
_OURS_PACK = (
    "import sys; from pathlib import Path; from megatools.vmbetter.targets import initrd; "
    "initrd.make(Path(sys.argv[1]), Path(sys.argv[2]), epoch=1)"
)


@dataclass(frozen=True)
class Cost:
    """What a program took: seconds on the clock, and of all processors."""

    wall_s: float
    cpu_s: float


def _cost(argv: list[str], directory: Path) -> Cost:
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY / "src"), "INITRD": "No"}
    began = time.monotonic()
    before = os.times()
    subprocess.run(argv, cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(time.monotonic() - began, cpu)


def run(options: Options) -> Iterable[Result]:
    """The promises of building."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(name)
        yield from _run(place, options.rounds or 1)
        yield from vmbetter_boot.results(place / "tiny.kernel", place / "tiny.initrd", place, options.rounds)


def _run(place: Path, rounds: int) -> Iterable[Result]:
    config = _CONFIGS / "default_amd64.conf"
    _cost([*_VMBETTER, str(config)], place)  # everything fetched, a lock written
    _cost([*_VMBETTER, "--rootfs-tar", str(config)], place)
    whole = _cost([*_VMBETTER, "--no-cache", str(config)], place)
    tree, theirs = _debootstrap(config, place)
    gzip = _cost(["sh", "-c", _PACK, str(tree), str(place / "reference.initrd")], place)
    (place / "packed").mkdir()
    packed = _cost([sys.executable, "-c", _OURS_PACK, str(place / "default_amd64.tar"), str(place / "packed")], place)
    cpu, wall = theirs.cpu_s + gzip.cpu_s, theirs.wall_s + gzip.wall_s
    yield _ratio("build default_amd64, CPU", whole.cpu_s, cpu, 0.25)
    yield _ratio("build default_amd64, wall", whole.wall_s, wall, 0.35)
    yield _ratio("pack default_amd64, CPU", packed.cpu_s, gzip.cpu_s, 1 / 15)
    sizes = [(place / name).stat().st_size / (1 << 20) for name in ("default_amd64.initrd", "reference.initrd")]
    yield Result("initrd of default_amd64", sizes[0], "MiB", sizes[1], sizes[0] / sizes[1], 1.0, False)
    shutil.rmtree(tree)
    yield from _again(place, whole, rounds)


def _debootstrap(config: Path, place: Path) -> tuple[Path, Cost]:
    """The reference's tree, of the same packages."""
    lock = locks.read(place / "default_amd64.lock")
    assert lock is not None
    cache = Cache(default_root())
    packages = [(cache.package(offer.sha256), offer.sha256, offer.priority) for offer in lock.packages]
    debs.write_repository(place / "repository", packages, suite=lock.suite, architecture=lock.architecture)
    tree = place / "tree"
    names = ",".join(offer.name for offer in lock.packages)
    words = ["debootstrap", "--variant=minbase", "--no-check-gpg", f"--include={names}", lock.suite, str(tree)]
    cost = _cost([*words, f"file://{place}/repository"], place)
    for entry in load(config).overlays:
        _cost(["cp", "-r", "--remove-destination", f"{entry.value}/.", str(tree)], place)
    return tree, cost


def _again(place: Path, whole: Cost, rounds: int) -> Iterable[Result]:
    over = place / "over/etc"
    over.mkdir(parents=True)
    config = place / "again.conf"
    text = f'parents = "{_CONFIGS}/default_amd64.conf"\noverlay = "over"\n'
    config.write_text(text)
    times: dict[str, list[float]] = {"overlay": [], "unchanged": [], "postbuild": [], "tiny": [], "tiny anew": []}
    small = place / "small.conf"
    (place / "again.lock").write_bytes((place / "default_amd64.lock").read_bytes())
    _cost([*_VMBETTER, str(config)], place)
    _cost([*_VMBETTER, str(_CONFIGS / "tiny.conf")], place)
    for _ in range(max(3, rounds)):
        number = time.time_ns()  # what no earlier run has left in the cache
        (over / "motd").write_text(f"{number}\n")
        times["overlay"].append(_cost([*_VMBETTER, str(config)], place).wall_s)
        times["unchanged"].append(_cost([*_VMBETTER, str(config)], place).wall_s)
        config.write_text(f"{text}postbuild = `echo {number} > /etc/number`")
        times["postbuild"].append(_cost([*_VMBETTER, str(config)], place).wall_s)
        config.write_text(text)
        times["tiny"].append(_cost([*_VMBETTER, str(_CONFIGS / "tiny.conf")], place).wall_s)
        small.write_text(_with_another_postbuild(_CONFIGS / "tiny.conf", number))
        times["tiny anew"].append(_cost([*_VMBETTER, str(small)], place).wall_s)
    middle = {name: statistics.median(found) for name, found in times.items()}
    yield Result("rebuild, an overlay file changed", middle["overlay"], "s", 0, 0, 2.0, False)
    yield Result("rebuild, nothing changed", middle["unchanged"], "s", 0, 0, 1.0, False)
    yield _ratio("rebuild, a postbuild changed", middle["postbuild"], whole.wall_s, 1 / 20)
    yield Result("tiny, nothing changed", middle["tiny"], "s", 0, 0, 3.0, False)
    yield Result("tiny, its packages' tree from the cache", middle["tiny anew"], "s", 0, 0, 3.0, False)
    size = (place / "tiny.initrd").stat().st_size / 1e6
    yield Result("initrd of tiny", size, "MB", 0, 0, 12.0, False)


def _with_another_postbuild(config: Path, number: int) -> str:
    """The text of a config in another place, whose postbuild was edited."""
    text = config.read_text().replace('overlay = "', f'overlay = "{config.parent}/')
    before, quote, script = text.partition("postbuild = `")
    return f"{before}{quote}\n# {number}{script}"


def _ratio(name: str, value: float, reference: float, limit: float) -> Result:
    return Result(name, value, "s", reference, value / reference, limit, False)
