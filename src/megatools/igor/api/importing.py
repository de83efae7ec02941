"""Taking over the original's reservations.json (2013 format). Used by `api.engine`.

An entry's kernel and initrd are `igor/NAME-kernel` and `igor/NAME-initrd` below the TFTP root, where the original put
them; they are copied into the content store. Entries that cannot be taken over are named, with the reason.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator

import msgspec

from megatools.hostkit.errors import InvalidInput, MegaError, NotFound, Unavailable, chain_text
from megatools.igor.api.context import Context, Images, held_by, staged_images
from megatools.igor.api.requests import Done, Import
from megatools.igor.boot.layout import initrd_path, kernel_path
from megatools.igor.model import nodes
from megatools.igor.model.names import checked_name
from megatools.igor.model.reservation import Details, Reservation, ReservationId, State
from megatools.igor.plan import policy
from megatools.igor.plan.scheduler import conflicts
from megatools.igor.run.transitions import start


class OldReservation(msgspec.Struct, frozen=True):
    """An entry of the file, with the original's names; `Expiration` is in seconds since 1970."""

    ResName: str
    Hosts: tuple[str, ...] = ()
    PXENames: tuple[str, ...] = ()
    Expiration: int = 0
    Owner: str = ""


def read_old(text: str) -> list[OldReservation]:
    """The entries of a reservations.json; an empty file holds none. Raises InvalidInput."""
    if not text.strip():
        return []
    try:
        return msgspec.json.decode(text, type=list[OldReservation])
    except msgspec.MsgspecError as error:
        raise InvalidInput(
            f"this is not a reservations.json of 2013: {error}", hint="it is a JSON array of ResName, Hosts, ..."
        ) from error


def import_old(context: Context, request: Import) -> Done:
    """Take over every entry that can be, each in its own change."""
    policy.check_admin(context.person, "import reservations")
    taken: list[Reservation] = []
    refused: list[str] = []
    for old in read_old(request.text):
        try:
            taken.append(_one(context, old))
        except MegaError as error:
            refused.append(f'"{old.ResName}" was not taken over: {chain_text(error)}')
    return Done(reservations=tuple(taken), messages=tuple(refused))


def _one(context: Context, old: OldReservation) -> Reservation:
    name = checked_name(old.ResName)
    chosen = nodes.of(context.cluster.number(host) for host in old.Hosts)
    if not chosen:
        raise InvalidInput("it has no nodes")
    with _old_files(context, name) as files:
        there = msgspec.structs.replace(context, files=files)
        labels = (kernel_path(name), initrd_path(name))
        with staged_images(there, 0, 1, labels) as images, context.change() as change:
            images.adopt(change)
            holders = conflicts(context.store.bookings().values(), chosen.mask(0), context.now_s, old.Expiration)
            if holders:
                raise InvalidInput(held_by(context, holders, chosen.mask(0)))
            added = change.add(_reservation(context, old, chosen, images))
            change.event(context.now_s, context.person.name, "import", added.id, name)
            return start(change, context.place, added)


def _reservation(context: Context, old: OldReservation, chosen: nodes.NodeSet, images: Images) -> Reservation:
    return Reservation(
        id=ReservationId(0),
        name=old.ResName,
        owner=old.Owner or context.person.name,
        group="",
        nodes=chosen,
        start_s=min(context.now_s, old.Expiration - 1),
        end_s=old.Expiration,
        state=State.PLANNED,
        kernel=images.kernel,
        initrd=images.initrd,
        details=Details(created_s=context.now_s, note="imported"),
    )


@contextlib.contextmanager
def _old_files(context: Context, name: str) -> Generator[list[int]]:
    opened: list[int] = []
    try:
        for path in (kernel_path(name), initrd_path(name)):
            try:
                opened.append(os.open(context.config.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
            except FileNotFoundError as error:
                raise NotFound(f'its "{path}" is not below the TFTP root') from error
            except OSError as error:
                raise Unavailable(f'its "{path}" cannot be read') from error
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)
