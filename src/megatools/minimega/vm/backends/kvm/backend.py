"""The KVM backend: QEMU machines from plan to process and back. `app` makes it; `fleet` uses it as a `Backend`."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
from dataclasses import dataclass
from functools import partial

from megatools.hostkit import proc
from megatools.hostkit.cgroups import Cgroups
from megatools.hostkit.errors import CommandFailed, MegaError, Unavailable, chain_text
from megatools.hostkit.proc import Identity
from megatools.hostkit.qemu import cmdline, probe
from megatools.hostkit.qemu.qmp import Monitor
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.disk.overlays import ReadyDisk, check_readable, ready_disks
from megatools.minimega.vm.backend import AgentChanged, Capabilities, Instance, Listener, Site
from megatools.minimega.vm.backends.kvm.find import running_qemus
from megatools.minimega.vm.backends.kvm.instance import KvmInstance, last_words
from megatools.minimega.vm.backends.kvm.spec import machine_spec
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.settings import VmSettings

_log = logging.getLogger(__name__)
_GIVE_UP_TIMEOUT_S = 10.0
_HINT = "vm config shows what it was told, qemu-append and qemu-override included"
_FULL_HINT = "is the disk full?"
_LEAST_ROOM = 64 * 1024  # bytes; QEMU writes its process id, its log and two sockets


@dataclass(frozen=True)
class _Prepared:
    """What `prepare` found out for `launch`."""

    program: str
    disks: tuple[ReadyDisk, ...]


class KvmBackend:
    """Runs VMs with QEMU; each in its own session and cgroup, so that it outlives the daemon."""

    def __init__(self, settings: VmSettings, cgroups: Cgroups, supervisor: Supervisor) -> None:
        self._settings = settings
        self._cgroups = cgroups
        self._accelerator = probe.accelerator(settings.accelerator).name  # /proc/cpuinfo can take 100 ms: once
        self._supervisor = supervisor
        self._prepared: dict[str, _Prepared] = {}
        self._running: dict[tuple[str, str], Identity] | None = None
        self._looking = asyncio.Lock()

    @property
    def kind(self) -> VmKind:
        """Which kind this is."""
        return VmKind.KVM

    def capabilities(self) -> Capabilities:
        """What this kind can do."""
        return Capabilities(console=True, screenshot=True, guest_agent=True, saved_states=False)

    async def prepare(self, site: Site) -> None:
        """Check the program and files of a VM, and make its overlays. Raises a MegaError naming what is wrong."""
        config = site.plan.config
        if config.state:
            raise Unavailable("launching from a saved state is not available yet", hint="clear vm config state")
        program = str(probe.program(config.qemu))
        for what, path in (("kernel", config.kernel), ("initrd", config.initrd), ("cdrom image", config.cdrom)):
            if path:
                check_readable(what, path)
        if config.tpm_socket:
            check_readable("TPM socket", config.tpm_socket)
        disks = await ready_disks([disk.path for disk in config.disks], site.directory, snapshot=config.snapshot)
        self._prepared[site.plan.uuid] = _Prepared(program, tuple(disks))

    async def launch(self, site: Site, listener: Listener) -> Instance:
        """Start QEMU, held; its greeting is the sign that it is ready. Raises CommandFailed with its last words."""
        prepared = self._prepared.pop(site.plan.uuid)
        instance = self._instance(site, listener)
        ours, theirs = socket.socketpair()
        timeout_s = self._settings.ready_timeout_s
        try:
            async with asyncio.TaskGroup() as group:
                greeting = Monitor.over(ours, site.plan.name, instance.on_event, timeout_s=timeout_s)
                connected = group.create_task(greeting)
                with theirs:  # closed here once QEMU has it, so that its death ends the connection
                    instance.born(await self._spawn(site, prepared, theirs.fileno()))
        except BaseException as error:
            ours.close()
            status = await instance.give_up(timeout_s=_GIVE_UP_TIMEOUT_S)
            self._cgroups.remove(site.plan.uuid)
            if isinstance(error, BaseExceptionGroup):
                raise _refused(site, status, _first(error)) from None
            raise
        instance.attach(connected.result())
        self._supervisor.start(f"watch {site.plan.name}", instance.watch())
        return instance

    def _instance(self, site: Site, listener: Listener) -> KvmInstance:
        return KvmInstance(site, listener, self._accelerator, self._settings.progress_timeout_s)

    async def _spawn(self, site: Site, prepared: _Prepared, monitor_fd: int) -> proc.Child:
        spec = machine_spec(
            site,
            program=prepared.program,
            accelerator=self._accelerator,
            disks=prepared.disks,
            monitor_fd=monitor_fd,
        )
        words = cmdline.argv(spec)
        log = os.open(site.directory / "qemu.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            enclose = partial(self._cgroups.add, site.plan.uuid)
            return await proc.spawn_aside(words, output=log, pass_fds=[monitor_fd], then=enclose)
        finally:
            os.close(log)

    async def adopt(self, site: Site, identity: Identity | None, listener: Listener) -> Instance | None:
        """Find a QEMU of an earlier daemon and take its monitor; None when it is gone.

        A QEMU whose monitor does not answer is adopted all the same: it can be killed.
        """
        if identity is None:
            identity = await self._find(site)
        if identity is None or not proc.is_alive(identity):
            return None
        instance = self._instance(site, listener)
        instance.found(identity)
        timeout_s = self._settings.adopt_timeout_s
        try:
            instance.attach(
                await Monitor.at(site.directory / "qmp", site.plan.name, instance.on_event, timeout_s=timeout_s)
            )
            if site.plan.config.backchannel:
                listener(AgentChanged(await instance.agent_connected()))
        except MegaError as error:
            _log.warning('vm "%s" is adopted without a monitor: %s', site.plan.name, chain_text(error))
        self._supervisor.start(f"watch {site.plan.name}", instance.watch())
        return instance

    async def _find(self, site: Site) -> Identity | None:
        """The process of a VM whose identity was never written down; /proc is read once, for all of them."""
        async with self._looking:
            if self._running is None:
                self._running = await asyncio.to_thread(running_qemus)
        return self._running.get((site.plan.uuid, str(site.directory / "qemu.pid")))

    async def destroy(self, site: Site) -> None:
        """Forget what was prepared and remove the empty cgroup."""
        self._prepared.pop(site.plan.uuid, None)
        self._cgroups.remove(site.plan.uuid)


def _refused(site: Site, status: int | None, cause: BaseException) -> MegaError:
    """Why there is no QEMU: its last words, or else what we saw; `status` is None when there never was a process."""
    if status is None and isinstance(cause, MegaError):
        return cause
    words = last_words(site.directory / "qemu.log")
    if words:
        return CommandFailed(f"QEMU refused to start: {words}", hint=_HINT)
    if shutil.disk_usage(site.directory).free < _LEAST_ROOM:  # its words had no room either
        return Unavailable(f'QEMU did not start: no space left for its files in "{site.directory}"', hint=_FULL_HINT)
    return CommandFailed(f"QEMU did not start (status {status}): {chain_text(cause)}", hint=_HINT)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
