"""Who asks, from what the kernel says: the uid of this process or of a socket's peer; groups come from the system."""

from __future__ import annotations

import grp
import os
import pwd

from megatools.igor.model.config import Config
from megatools.igor.model.person import Person


def person_of(uid: int, config: Config) -> Person:
    """The person with a uid; an unknown uid is called `uid-1234` and is in no group."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Person(uid, f"uid-{uid}", frozenset(), admin=uid == 0)
    groups = frozenset(_group_names(entry.pw_name, entry.pw_gid))
    admin = uid == 0 or entry.pw_name in config.admins or bool(groups & set(config.admin_groups))
    return Person(uid, entry.pw_name, groups, admin)


def _group_names(name: str, gid: int) -> list[str]:
    found: list[str] = []
    for number in os.getgrouplist(name, gid):
        try:
            found.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return found


def caller(config: Config) -> Person:
    """Who runs this process; root by sudo acts in the name of who called sudo, with root's rights."""
    uid = os.getuid()
    invoker = os.environ.get("SUDO_UID", "")
    if uid == 0 and invoker.isdigit() and int(invoker) != 0:
        behind = person_of(int(invoker), config)
        return Person(behind.uid, behind.name, behind.groups, admin=True)
    return person_of(uid, config)
