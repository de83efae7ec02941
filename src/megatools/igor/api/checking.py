"""Whether store and boot files agree, and making them. Used by `api.engine`.

The store is the truth: what is below the TFTP root follows from it. What igor never wrote is left alone, except
leftovers in igor's own directories and per-node files of reservations that are gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from megatools.hostkit.errors import MegaError, chain_text
from megatools.igor.api.context import Context
from megatools.igor.api.requests import Check, CheckReport
from megatools.igor.boot.content import INCOMING, sweep
from megatools.igor.model.reservation import Reservation
from megatools.igor.plan import policy
from megatools.igor.run.transitions import install


def check(context: Context, request: Check) -> CheckReport:
    """What does not agree; with `repair` (administrators), what was made to."""
    if not request.repair:
        return CheckReport(tuple(_problems(context)), ())
    policy.check_admin(context.person, "repair")
    sweep(context.config)
    with context.store.change() as change:
        change.lenient = True
        before = list(_problems(context))
        for reservation in context.store.active():
            try:
                install(change, context.place, reservation)
            except MegaError as error:
                before.append(f'boot files of "{reservation.name}": {chain_text(error)}')
        change.mark_all()
        change.mark(*_strays(context))
        change.collect_images()
    after = list(_problems(context))
    return CheckReport(tuple(after), tuple(one for one in before if one not in after))


def _problems(context: Context) -> Iterator[str]:
    store = context.store
    yield from store.integrity()
    for path, wanted in store.boot_files():
        difference = store.disk.agrees(path, wanted)
        if difference:
            yield f'boot file "{path}" {difference}'
    for path in store.marked():
        yield f'boot file "{path}" was not settled'
    for image in store.images():
        place = context.config.root / image.path()
        if not place.is_file() or place.stat().st_size != image.size:
            yield f'{image.kind.value} "{image.path()}" is missing or has the wrong size'
    for path in _strays(context):
        yield f'"{path}" belongs to no reservation'
    yield from _overlaps(store.live())


def _strays(context: Context) -> list[str]:
    """Files in igor's own directories that the store does not know."""
    known = {path for path, _ in context.store.boot_files()} | {one.path() for one in context.store.images()}
    root = context.config.root
    found: list[str] = []
    for directory in ("igor", "igor/images", "igor/ipxe", "pxelinux.cfg/igor"):
        try:
            names = sorted(os.listdir(root / directory))
        except FileNotFoundError:
            continue
        for name in names:
            path = f"{directory}/{name}"
            if path in known or name.startswith(INCOMING) or not (root / path).is_file():
                continue
            if directory != "igor" or name.endswith(("-kernel", "-initrd")):
                found.append(path)
    return found


def _overlaps(live: list[Reservation]) -> Iterator[str]:
    """Reservations that hold the same node at the same time: there must be none."""
    ends: dict[int, Reservation] = {}
    for one in sorted(live, key=lambda one: one.start_s):
        for number in one.nodes:
            other = ends.get(number)
            if other is not None and other.end_s > one.start_s:
                yield f'"{other.name}" and "{one.name}" both have node number {number}'
                break
            ends[number] = one
