"""Put this version on other hosts over ssh, make them members and start their daemons. Called by `commands.deploy`.

Each host goes its own way, several at once; the same steps again find what is done already::

    look    who is it, what runs there
    copy    the tree of this version (hostkit.bundle), beside the old one and then in its place
    ready   does it start, are QEMU and the others there; scripts/install where not
    enrol   credentials issued here, over the same connection
    start   an older daemon leaves its VMs running, the new one adopts them; wait until it answers
"""

from __future__ import annotations

import asyncio
import io
import shlex
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from megatools.hostkit import bundle, ssh
from megatools.hostkit.errors import AlreadyExists, InvalidInput, MegaError, Unavailable, user_text
from megatools.hostkit.ssh import Login
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import HostResult, Outcome

_AT_ONCE = 16
_QUICK_S = 60.0
_COPY_S = 600.0
_INSTALL_S = 1800.0
_START_S = 120.0
_LOG = "/var/log/minimega.log"
_HOME = f"/{bundle.HOME}"
_PROGRAM = f"{_HOME}/bin/minimega"

Tell: TypeAlias = Callable[[str], None]

_LOOK = "uname -n; id -u"
_COPY = """\
set -e; umask 022
new=$(mktemp -d /opt/.megatools-XXXXXXXX); trap 'rm -rf "$new"' EXIT; chmod 755 "$new"
tar --extract --gzip --no-same-owner --directory="$new"
rm -rf {home}.old; if [ -e {home} ]; then mv {home} {home}.old; fi
mv "$new/opt/megatools" {home}; rm -rf {home}.old
mkdir -p /usr/local/bin; cp -P "$new"/usr/local/bin/* /usr/local/bin/
"""
_READY = """\
set -e
PATH=$PATH:/usr/sbin:/sbin; missing=
for program in qemu-system-x86_64 qemu-img ovs-vswitchd ovsdb-server dnsmasq ip; do
    command -v "$program" >/dev/null || missing=yes
done
if [ -n "$missing" ] || ! {program} -version >/dev/null 2>&1; then {home}/scripts/install >&2; fi
{program} -version
"""
_START = """\
set -e
ask() {{ {program} -base {base} -e .annotate false version 2>/dev/null; }}
if running=$(ask); then
    if [ "$running" = "$({program} -version)" ] && [ -z "{again}" ]; then echo "runs already"; exit 0; fi
    old=$(cat {base}/minimega.pid); kill -TERM "$old"
    for _ in $(seq 300); do kill -0 "$old" 2>/dev/null || break; sleep 0.1; done
fi
setsid nohup {program} {flags} </dev/null >>{stdout} 2>>{stderr} &
for _ in $(seq 600); do
    if ask >/dev/null; then echo "{word}"; exit 0; fi
    kill -0 $! 2>/dev/null || break
    sleep 0.1
done
echo "the daemon did not start; the end of its log:" >&2; tail -n 8 {stderr} >&2; exit 1
"""


class Enroller(Protocol):
    """Makes other nodes members, as a deployment needs it."""

    def enrolled(self, name: str) -> bool:
        """Whether a node of this name is a member already. Raises Unavailable where no authority is."""
        ...

    def credentials(self, name: str) -> bytes:
        """What a node of this name keeps on disk to be a member. Raises Unavailable where no authority is."""
        ...


@dataclass
class Deployment:
    """What deployments from here use: `deploy flags|stdout|stderr` change it.

    `defaults` are the flags of a new daemon, `base` and `cluster_dir` what it takes where they name none; credentials
    come from `enroller`, None in an open mesh.
    """

    here: str
    defaults: Sequence[str]
    base: Path
    cluster_dir: Path
    cache: Path
    enroller: Enroller | None
    flags: tuple[str, ...] = ()
    stdout: str = _LOG
    stderr: str = _LOG
    _packing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def words(self) -> tuple[str, ...]:
        """The words of a daemon's command line over there."""
        return ("-nostdin", *(self.flags or self.defaults))

    def _setting(self, name: str, default: Path) -> str:
        """The value of a flag over there, quoted for a shell."""
        words = self.words()
        found = str(default)
        for number, word in enumerate(words):
            flag, equals, value = word.lstrip("-").partition("=")
            if word.startswith("-") and flag == name:
                found = value if equals else " ".join(words[number + 1 : number + 2])
        return shlex.quote(found)

    async def launch(self, hosts: Sequence[str], user: str, *, sudo: bool, tell: Tell) -> list[HostResult]:
        """Deploy to hosts; one result each. Raises InvalidInput for bad names before anything is done."""
        logins = [Login(host, user, sudo) for host in dict.fromkeys(hosts)]
        for login in logins:
            ssh.argv(login, ("true",))
        if not logins:
            raise InvalidInput("no hosts", hint="deploy launch kn[1-4]")
        tell("packing this version")
        packed = await self._packed()
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(login: Login) -> HostResult:
            async with room:
                try:
                    return HostResult(login.host, Outcome.DONE, Answer(await self._one(login, packed, tell)))
                except MegaError as error:
                    return HostResult(login.host, Outcome.ERROR, error=user_text(error))

        return list(await asyncio.gather(*(one(login) for login in logins)))

    async def _one(self, login: Login, packed: bytes, tell: Tell) -> str:
        def say(step: str) -> None:
            tell(f"{login.host}: {step}")

        say("looking")
        name = await self._look(login)
        say("copying")
        await ssh.run(login, ("sh", "-c", _COPY.format(home=_HOME)), stdin=packed, timeout_s=_COPY_S)
        say("installing what is missing")
        ready = _READY.format(home=_HOME, program=_PROGRAM)
        version = (await ssh.run(login, ("sh", "-c", ready), timeout_s=_INSTALL_S)).strip().splitlines()[-1]
        new_member = await self._enrol(login, name)
        say("starting")
        text = await ssh.run(login, ("sh", "-c", self._start_script(again=new_member)), timeout_s=_START_S)
        member = f", a member as {name}" if self.enroller is not None else ""
        return f"{version}: {text.strip()}{member}"

    async def _look(self, login: Login) -> str:
        lines = (await ssh.run(login, ("sh", "-c", _LOOK), timeout_s=_QUICK_S)).split()
        if len(lines) != 2:
            raise Unavailable(f'"{login.host}" does not say who it is')
        name, uid = lines
        if uid != "0":
            raise Unavailable(
                f'user "{login.user or "of ssh"}" is not root on "{login.host}"', hint="deploy launch HOSTS USER sudo"
            )
        if name == self.here:
            raise AlreadyExists(f'"{login.host}" is this host')
        return name

    async def _enrol(self, login: Login, name: str) -> bool:
        """Whether the node became a member just now."""
        if self.enroller is None:
            return False
        folder = self._setting("cluster-dir", self.cluster_dir)
        file = f"{folder}/node.pem"
        if self.enroller.enrolled(name):
            has = await ssh.run(login, ("sh", "-c", f"[ ! -s {file} ] || echo yes"), timeout_s=_QUICK_S)
            if has.strip() == "yes":
                return False
        pem = self.enroller.credentials(name)
        script = f"set -e; umask 077; mkdir -p {folder}; cat >{file}.new; mv {file}.new {file}"
        await ssh.run(login, ("sh", "-c", script), stdin=pem, timeout_s=_QUICK_S)
        return True

    def _start_script(self, *, again: bool) -> str:
        return _START.format(
            program=_PROGRAM,
            base=self._setting("base", self.base),
            flags=shlex.join(self.words()),
            stdout=shlex.quote(self.stdout),
            stderr=shlex.quote(self.stderr),
            again="yes" if again else "",
            word="started",
        )

    async def _packed(self) -> bytes:
        async with self._packing:
            return await asyncio.to_thread(_pack, self.cache)


def _pack(cache: Path) -> bytes:
    """The tree of this version as a compressed tar archive; it belongs to root."""
    folder = bundle.folder(cache)
    kept = cache / f"{folder.name}.tgz"
    if kept.exists():
        return kept.read_bytes()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=3) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, str(path.relative_to(folder)), recursive=False, filter=_roots)
    for old in cache.glob("*.tgz"):
        old.unlink()
    kept.write_bytes(stream.getvalue())
    return stream.getvalue()


def _roots(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
