"""Answers of administration: hosts, blocks, profiles, tokens. Used by `api.engine`."""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from megatools.hostkit.errors import InvalidInput, NotFound, PermissionDenied
from megatools.igor.api.context import Context, staged_images
from megatools.igor.api.requests import Block, Done, HostList, MakeToken, SetHosts, SetProfile, Token
from megatools.igor.model.host import Host
from megatools.igor.model.image import Profile
from megatools.igor.model.names import checked_args, checked_name
from megatools.igor.model.reservation import ReservationId
from megatools.igor.plan import policy
from megatools.igor.run.transitions import install

MAX_TOKEN_DAYS = 366


def block(context: Context, request: Block) -> Done:
    """Keep nodes from being reserved, or let them be reserved again; reservations they have stay."""
    policy.check_admin(context.person, "block nodes")
    wanted = context.cluster.parse(request.nodes)
    with context.change() as change:
        known = context.store.hosts()
        for number in wanted:
            host = known.get(number) or Host(number, context.cluster.name(number))
            change.set_host(msgspec.structs.replace(host, blocked=request.reason))
        what = "block" if request.reason else "unblock"
        change.event(context.now_s, context.person.name, what, ReservationId(0), context.cluster.written(wanted))
    return Done(messages=(f"{what}ed {context.cluster.written(wanted)}",))


def set_hosts(context: Context, request: SetHosts) -> HostList:
    """Record what is known of nodes, and write the boot files of the reservations they are in anew."""
    policy.check_admin(context.person, "describe nodes")
    cluster = context.cluster
    for host in request.hosts:
        if cluster.number(host.name) != host.number:
            raise InvalidInput(f'node "{host.name}" has the number {cluster.number(host.name)}, not {host.number}')
    _check_distinct(context, request.hosts)
    numbers = {host.number for host in request.hosts}
    with context.change() as change:
        for host in request.hosts:
            change.set_host(host)
        for reservation in context.store.active():
            if reservation.kernel and numbers & set(reservation.nodes):
                install(change, context.place, reservation)
        change.event(context.now_s, context.person.name, "hosts", ReservationId(0), str(len(numbers)))
    return HostList(request.hosts)


def _check_distinct(context: Context, hosts: tuple[Host, ...]) -> None:
    """No two nodes may share a MAC or an address: they would share a boot file."""
    after = context.store.hosts() | {host.number: host for host in hosts}
    owners: dict[str, str] = {}
    for host in after.values():
        for key in (host.mac, host.ip):
            if key and owners.setdefault(key, host.name) != host.name:
                raise InvalidInput(f'nodes "{owners[key]}" and "{host.name}" would both have "{key}"')


def set_profile(context: Context, request: SetProfile) -> Done:
    """Keep a profile, or forget one; a profile belongs to who made it."""
    name = checked_name(request.name, "profile")
    old = context.store.profiles().get(name)
    if old is not None and old.owner != context.person.name and not context.person.admin:
        raise PermissionDenied(f'profile "{name}" belongs to "{old.owner}"')
    if request.remove:
        if old is None:
            raise NotFound(f'there is no profile "{name}"')
        with context.change() as change:
            change.remove_profile(name)
        return Done(messages=(f'forgot profile "{name}"',))
    if request.kernel < 0 and old is None:
        raise InvalidInput("a profile needs a kernel", hint="name it with -k")
    names = (request.kernel_name, request.initrd_name)
    with staged_images(context, request.kernel, request.initrd, names) as images, context.change() as change:
        images.adopt(change)
        kernel = images.kernel or (old.kernel if old else images.kernel)
        initrd = images.initrd or (old.initrd if old else images.initrd)
        owner = old.owner if old else context.person.name
        change.set_profile(Profile(name, owner, kernel, initrd, checked_args(request.args), request.public))
    return Done(messages=(f'keeping profile "{name}"',))


def make_token(context: Context, request: MakeToken) -> Token:
    """A secret with which the asker may use the API over HTTPS; only its SHA-256 is kept."""
    if not 1 <= request.days <= MAX_TOKEN_DAYS:
        raise InvalidInput(f"a token lasts 1 to {MAX_TOKEN_DAYS} days, {request.days} were asked for")
    secret = secrets.token_urlsafe(32)
    until_s = context.now_s + request.days * 86400
    with context.change() as change:
        change.add_token(token_hash(secret), context.person.uid, context.person.name, until_s, context.now_s)
    return Token(secret, until_s)


def token_hash(secret: str) -> str:
    """What the store keeps of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()
