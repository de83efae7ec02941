"""`igor-hook ID`: run the hooks of one reservation that are due, as its owner. Needs root; its input is a number.

`run.work` starts it, through its systemd unit (packaging/igor/igor-hook@.service) or sudo. It believes nobody: which
hooks are due, for which nodes and for whom stands in the store; the configuration is /etc/igor.conf, and must be
root's. Exit status 0: all went well; what failed is on standard error.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from megatools.hostkit.errors import InvalidInput, MegaError, PermissionDenied, user_text
from megatools.igor.model import config as configuration
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.config import Config
from megatools.igor.model.reservation import Reservation, ReservationId, Task, TaskKind
from megatools.igor.run.hooks import environment_of, owner_of, run_as_owner
from megatools.igor.store.store import Store

EVENTS = {TaskKind.HOOK_START: "start", TaskKind.HOOK_END: "end"}
_MAX_DIGITS = 18
_MANY = 10_000


def main() -> None:
    """Run from the command line."""
    try:
        key = _number(sys.argv[1:])
        failures = run_due(_trusted_config(_config_path()), key)
    except MegaError as error:
        failures = [error]
    for failure in failures:
        sys.stderr.write(f"igor-hook: {user_text(failure)}\n")
    sys.exit(failures[0].exit_code if failures else 0)


def run_due(config: Config, key: ReservationId) -> list[MegaError]:
    """Run a reservation's due hooks, one after the other; returns what failed."""
    store = Store(config.state, config.root)
    try:
        due = [task for task in store.due_tasks(int(time.time()), _MANY) if task.reservation == key]
        reservation = store.reservation(key)
    finally:
        store.close()
    failures: list[MegaError] = []
    for task in due:
        if task.kind in EVENTS:
            try:
                run_one(config.cluster, reservation, task)
            except MegaError as error:
                failures.append(error)
    return failures


def run_one(cluster: Cluster, reservation: Reservation, task: Task) -> None:
    """Run the hook of one task as the reservation's owner, for the nodes it had; raises as `hooks.run_as_owner`."""
    owner = owner_of(reservation)
    then = msgspec.structs.replace(reservation, nodes=task.nodes)
    run_as_owner(task.text, environment_of(then, EVENTS[task.kind], cluster, owner), owner)


def _number(arguments: list[str]) -> ReservationId:
    if len(arguments) != 1 or not arguments[0].isascii() or not arguments[0].isdigit():
        raise InvalidInput("usage: igor-hook RESERVATION-ID")
    if len(arguments[0]) > _MAX_DIGITS:
        raise InvalidInput(f'"{arguments[0][:_MAX_DIGITS]}..." is not a reservation id')
    return ReservationId(int(arguments[0]))


def _config_path() -> Path:
    """Root reads only the system's configuration; anybody else may name one, and can run their own hooks only."""
    named = os.environ.get("IGOR_CONFIG", "")
    return Path(named) if named and os.geteuid() != 0 else configuration.DEFAULT_PATH


def _trusted_config(path: Path) -> Config:
    config = configuration.load(path)
    status = path.stat()
    if os.geteuid() == 0 and (status.st_uid != 0 or status.st_mode & 0o022):
        hint = f"chown root {path}; chmod go-w {path}"
        raise PermissionDenied(f'"{path}" can be changed by others than root', hint=hint)
    return config


if __name__ == "__main__":
    main()
