"""Which Open vSwitch to use, and a private one where there is none.

The order, for a daemon that was told nothing::

    the system's, when its database answers and its ovs-vswitchd is in our network namespace
    a vswitchd that already runs in this network namespace   (a second one would fight it over the tap ovs-netdev)
    the system's service, when systemd has one to start
    a private one under the daemon's base directory, which is ours: adopted after a crash, stopped on quit

Anyone may use it. A private Open vSwitch is recognised by the exact path of its database among the words of its
command line, so no pid file is trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec

from megatools.hostkit import netlink, proc
from megatools.hostkit.errors import CommandFailed, NotFound, Unavailable
from megatools.hostkit.files import Lock
from megatools.hostkit.ovs.database import Database

_log = logging.getLogger(__name__)
SYSTEM_RUN_DIR = Path("/var/run/openvswitch")
_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_START_S = 30.0
_ANSWER_S = 10.0
_VSWITCHD, _SERVER = "ovs-vswitchd", "ovsdb-server"


class Service(msgspec.Struct, frozen=True):
    """An Open vSwitch that runs: where its sockets are, and whether it is ours to stop."""

    run_dir: Path
    owned: bool

    @property
    def database(self) -> Path:
        """The database server's socket."""
        return self.run_dir / "db.sock"

    def management(self, bridge: str) -> str:
        """How ovs-ofctl reaches a bridge."""
        return f"unix:{self.run_dir / bridge}.mgmt"


class _Process(msgspec.Struct, frozen=True):
    identity: proc.Identity
    name: str
    words: tuple[str, ...]


def datapath_type() -> str:
    """`system` where the kernel has the Open vSwitch datapath, else `netdev`, the one in userspace."""
    return "system" if netlink.has_generic_family("ovs_datapath") else "netdev"


async def choose(run_dir: Path | None, private_dir: Path) -> tuple[Service, Database]:
    """Find or start an Open vSwitch, and connect to it; raises Unavailable when there is none to be had.

    `run_dir` is the user's choice: with it, nothing else is looked at and nothing is started.
    """
    if run_dir is not None:
        service = Service(run_dir, owned=False)
        return service, await _connect(service)
    for name in (_VSWITCHD, _SERVER):
        if proc.which(name) is None:
            raise NotFound(f'program "{name}" is not on this host', hint="run scripts/install")
    lock = Lock(Path(f"/run/megatools-ovs-{_network_namespace()}.lock"))  # two daemons must not both start one
    await asyncio.to_thread(lock.acquire, True)
    try:
        if not (private_dir / "db.sock").exists():
            await stop(private_dir)  # its directory was removed under it: nobody can reach it any more
        running = await asyncio.to_thread(_running, private_dir)
        service = running if running is not None else await _start(private_dir)
        return service, await _connect(service)
    finally:
        lock.release(remove=True)


async def is_running() -> bool:
    """Whether an ovs-vswitchd runs in this network namespace."""
    here = _network_namespace()
    processes = await asyncio.to_thread(lambda: list(_processes()))
    return any(each.name == _VSWITCHD and _network_namespace(each.identity.pid) == here for each in processes)


async def processes(private_dir: Path) -> list[proc.Identity]:
    """The processes of our private Open vSwitch; both halves of it when it is well."""
    return await asyncio.to_thread(lambda: [process.identity for process in _owned(private_dir)])


async def stop(private_dir: Path) -> bool:
    """End our private Open vSwitch, and say whether there was one; one that is not ours is never touched."""
    processes = await asyncio.to_thread(lambda: list(_owned(private_dir)))
    for name in (_VSWITCHD, _SERVER):
        for process in processes:
            if process.name == name:
                await proc.end(process.identity, grace_s=_ANSWER_S)
    for path in private_dir.glob("*"):
        if path.is_socket() or path.suffix in (".pid", ".mgmt", ".snoop", ".ctl", ".db", ".log", ".lock", ".~lock~"):
            path.unlink(missing_ok=True)
    for path in private_dir.glob(".*.~lock~"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # absent, or the user keeps something there
        private_dir.rmdir()
    return bool(processes)


async def _connect(service: Service) -> Database:
    try:
        database = await Database.open(service.database)
    except Unavailable as error:
        raise Unavailable(
            f'Open vSwitch does not answer in "{service.run_dir}"', hint="start it, or choose another with ovs_run_dir"
        ) from error
    await database.initialise()
    if not await database.responds(timeout_s=_ANSWER_S):
        database.close()
        raise Unavailable(
            f'ovs-vswitchd of "{service.run_dir}" applies no changes', hint="see its log; is ovs-vswitchd running?"
        )
    return database


def _running(private_dir: Path) -> Service | None:
    """The Open vSwitch of this network namespace, if one runs."""
    here = _network_namespace()
    for process in _processes():
        if process.name != _VSWITCHD or _network_namespace(process.identity.pid) != here:
            continue
        where = next((word.removeprefix("unix:") for word in process.words if word.startswith("unix:")), None)
        run_dir = Path(where).parent if where else SYSTEM_RUN_DIR
        if run_dir == private_dir and len({half.name for half in _owned(private_dir)}) < 2:
            return None  # half of ours: the other half is started again
        if run_dir == private_dir:
            _log.info("adopted the private Open vSwitch, pid %d", process.identity.pid)
        return Service(run_dir, owned=run_dir == private_dir)
    return None


async def _start(private_dir: Path) -> Service:
    if Path("/run/systemd/system").is_dir():
        done = await proc.run(["systemctl", "start", "openvswitch-switch"], timeout_s=_START_S, check=False)
        if done.status == 0 and (SYSTEM_RUN_DIR / "db.sock").exists():
            return Service(SYSTEM_RUN_DIR, owned=False)
        _log.info("no Open vSwitch service to start: %s", proc.failure_text(done))
    private_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    service = Service(private_dir, owned=True)
    running = {process.name for process in _owned(private_dir)}
    if _SERVER not in running:
        await _start_server(service)
    if _VSWITCHD not in running:
        database = await Database.open(service.database)
        await database.initialise()
        database.close()
        argv = [_VSWITCHD, f"unix:{service.database}", *_daemon_words(private_dir, _VSWITCHD)]
        await proc.run(argv, timeout_s=_START_S, env={"OVS_RUNDIR": str(private_dir)})
    _log.info("started a private Open vSwitch in %s", private_dir)
    return service


async def _start_server(service: Service) -> None:
    path = service.run_dir / "conf.db"
    if not path.exists():
        if not _SCHEMA.exists():
            raise NotFound(f'the schema of Open vSwitch is not at "{_SCHEMA}"', hint="run scripts/install")
        await proc.run(["ovsdb-tool", "create", str(path), str(_SCHEMA)], timeout_s=_START_S)
    argv = [_SERVER, str(path), f"--remote=punix:{service.database}", *_daemon_words(service.run_dir, _SERVER)]
    try:
        await proc.run(argv, timeout_s=_START_S)
    except CommandFailed as error:
        raise Unavailable("cannot start a private Open vSwitch database") from error


def _daemon_words(run_dir: Path, name: str) -> list[str]:
    """With --detach the program returns when it is ready, and lives on in a session of its own."""
    return [
        "--detach",
        "--no-chdir",
        f"--pidfile={run_dir / name}.pid",
        f"--unixctl={run_dir / name}.ctl",
        f"--log-file={run_dir / name}.log",
        "-vconsole:off",
        "-vsyslog:off",
    ]


def _owned(private_dir: Path) -> Iterator[_Process]:
    """Our private Open vSwitch's processes."""
    socket = private_dir / "db.sock"
    wanted = {(_VSWITCHD, f"unix:{socket}"), (_SERVER, f"--remote=punix:{socket}")}
    return (process for process in _processes() if any((process.name, word) in wanted for word in process.words))


def _processes() -> Iterator[_Process]:
    """Every ovs-vswitchd and ovsdb-server on this machine that we may look at."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name = (entry / "comm").read_text().strip()
            if name not in (_VSWITCHD, _SERVER):
                continue
            words = tuple((entry / "cmdline").read_bytes().decode(errors="replace").split("\0"))
            yield _Process(proc.identity_of(int(entry.name)), name, words)
        except (FileNotFoundError, ProcessLookupError, PermissionError, NotFound):
            continue  # it ended while we looked


def _network_namespace(pid: int | str = "thread-self") -> int:
    """A process's network namespace as an inode number; 0 when we may not see it."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
