"""`deploy launch` puts this version on other hosts over a real ssh, makes them members and starts them."""

import contextlib
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest

from megatools.hostkit import revision
from tests.support import hosts
from tests.support.cluster import mesh_size
from tests.support.daemon import Daemon
from tests.support.requires import requires

pytestmark = [requires("sshd", "ssh", "ssh-keygen"), pytest.mark.root, pytest.mark.timeout(600)]

_BASE = "/tmp/minimega"
_LOG = "/var/log/minimega.log"
_USER = "squire"
# What a host writes stays on it: an empty disk where this machine's is in the way, and nothing of ours in it.
_OWN_DISK = "for d in /opt /usr/local /var/lib/megatools /var/log /tmp; do mkdir -p $d; mount -t tmpfs none $d; done"


class Fleet:
    """A host that deploys, kn1, and hosts with an ssh server and an empty disk.

    With `sudoers` (names of hosts) an ordinary user alone can log in, who may become root on those hosts.
    """

    def __init__(
        self, lab: hosts.Lab, place: Path, flags: Sequence[str], sudoers: Collection[str] | None = None
    ) -> None:
        self.lab, self.place = lab, place
        self._sudoers = sudoers
        self._keys()
        if sudoers is not None:
            self._people()
        driver = lab.hosts[0]
        ssh = f"mkdir -p /root/.ssh; mount --bind {place}/ssh /root/.ssh"
        own = ["-cluster-dir", str(place / "cluster"), *flags]
        self.driver = Daemon(place / "b", prefix=_entering(driver, ssh), flags=own)
        self.servers: list[subprocess.Popen[bytes]] = []
        for host in lab.hosts[1:]:
            self._serve(host)

    def _keys(self) -> None:
        (self.place / "ssh").mkdir(mode=0o700)
        for name in ("ssh/id_ed25519", "host_key"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.place / name)]
            subprocess.run(argv, check=True, timeout=30)
        shutil.copy(self.place / "ssh/id_ed25519.pub", self.place / "authorized")
        self.place.chmod(0o755)
        (self.place / "authorized").chmod(0o644)  # sshd reads it as who logs in
        (self.place / "ssh/config").write_text("Host *\n  StrictHostKeyChecking accept-new\n")
        lines = [f"Host {host.name}\n  HostName {host.address}\n" for host in self.lab.hosts]
        with (self.place / "ssh/config").open("a") as stream:
            stream.writelines(lines)
        config = f"HostKey {self.place}/host_key\nAuthorizedKeysFile {self.place}/authorized\nUsePAM no\n"
        config += "StrictModes no\nPidFile none\n"
        config += f"AllowUsers {self._as}\n"
        (self.place / "sshd_config").write_text(config)

    @property
    def _as(self) -> str:
        return "root" if self._sudoers is None else _USER

    def _people(self) -> None:
        """What the hosts' /etc says instead of this machine's: the user, who may use sudo, and names of hosts."""
        etc = self.place / "etc"
        etc.mkdir()
        for name, line in (("passwd", f"{_USER}:x:61234:61234::/tmp:/bin/sh"), ("shadow", f"{_USER}:*:19000::::::")):
            shutil.copy2(f"/etc/{name}", etc / name)
            with (etc / name).open("a") as stream:
                stream.write(f"{line}\n")
        shutil.chown(etc / "shadow", "root", "shadow")
        named = "".join(f"{host.address} {host.name}\n" for host in self.lab.hosts)
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{named}")  # sudo looks its host up
        allowed = ",".join(self._sudoers or ("nowhere",))
        (etc / "sudoers").write_text(f"Defaults use_pty\n{_USER} {allowed} = (root) NOPASSWD: ALL\n")
        (etc / "sudoers").chmod(0o440)

    def _serve(self, host: hosts.Host) -> None:
        """An ssh server on a host whose disk is empty; its sessions see the same disk."""
        keep = f"mkdir -p /run/sshd; cp -r {self.place} /run/mt-keep; {_OWN_DISK}; mkdir -p {self.place.parent}"
        keep += f"; cp -r /run/mt-keep {self.place}; rm -rf /run/mt-keep"
        if self._sudoers is not None:
            for name in ("passwd", "shadow", "hosts", "sudoers"):
                keep += f"; mount --bind {self.place}/etc/{name} /etc/{name}"
        argv = [*_entering(host, keep), "/usr/sbin/sshd", "-D", "-e", "-f", str(self.place / "sshd_config")]
        self.servers.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True))
        deadline = time.monotonic() + 30
        while host.name not in self._answer(host):
            assert time.monotonic() < deadline, f"no ssh server on {host.name}"
            time.sleep(0.1)

    def _answer(self, host: hosts.Host) -> str:
        argv = [*self.driver.prefix, "ssh", "-o", "BatchMode=yes", "-l", self._as, host.name, "uname -n"]
        return subprocess.run(argv, capture_output=True, timeout=30, check=False).stdout.decode()

    def shell(self, host: hosts.Host, script: str) -> str:
        """What root's shell on a host prints, asked over ssh."""
        argv = [*self.driver.prefix, "ssh", "-o", "BatchMode=yes", "-l", self._as, host.name]
        sudo = [] if self._sudoers is None else ["sudo", "-n"]
        words = shlex.join([*sudo, "sh", "-ec", script])
        done = subprocess.run([*argv, words], capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def there(self, host: hosts.Host, line: str) -> str:
        """What a daemon on a host answers, asked over ssh."""
        return self.shell(host, f"/usr/local/bin/minimega -base {_BASE} -e {line}")


def _entering(host: hosts.Host, script: str) -> tuple[str, ...]:
    """The words that run a program on a host with mounts of its own."""
    return (*host.prefix, "unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh")


@contextlib.contextmanager
def _fleet(count: int, *flags: str, sudoers: Collection[str] | None = None) -> Iterator[Fleet]:
    place = Path(tempfile.mkdtemp(prefix="mt-deploy-", dir="/tmp"))
    try:
        with hosts.lab(count) as lab:
            fleet = Fleet(lab, place, flags, sudoers)
            try:
                yield fleet
            finally:
                fleet.driver.clean()
                for host in lab.hosts:
                    hosts.end_processes(host)
                for server in fleet.servers:
                    server.wait(30)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something is so; a daemon that does not answer yet is no failure."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.1)


def _wait_for_size(driver: Daemon, size: int) -> None:
    deadline = time.monotonic() + 60
    while mesh_size(driver) != size:
        assert time.monotonic() < deadline, driver.ask("mesh status")
        time.sleep(0.1)


def test_hosts_get_this_version_and_are_members_without_a_further_step() -> None:
    with _fleet(3) as fleet:
        fleet.driver.start()
        fleet.driver.ask("cluster init")
        fleet.driver.ask(f"deploy flags -base {_BASE} -accel tcg")
        answers = {str(one["Host"]): one for one in fleet.driver.answers("deploy launch kn[2-3],kn9")}
        assert "no connection" in str(answers["kn9"]["Error"]) or "cannot reach" in str(answers["kn9"]["Error"])
        for name in ("kn2", "kn3"):
            assert answers[name]["Error"] == "", answers[name]
            assert f"started, a member as {name}" in str(answers[name]["Response"])
        _wait_for_size(fleet.driver, 3)
        version = fleet.driver.ask(".annotate false version")
        assert fleet.there(fleet.lab.hosts[1], ".annotate false version") == version
        again = fleet.driver.answers("deploy launch kn2")
        assert "runs already" in str(again[0]["Response"]), again


def test_hosts_of_an_open_mesh_need_no_certificates() -> None:
    with _fleet(2, "-mesh-open") as fleet:
        fleet.driver.start()
        assert "-mesh-open=true" in fleet.driver.ask("deploy flags")
        fleet.driver.ask(f"deploy flags -mesh-open -base {_BASE}")
        (answer,) = fleet.driver.answers("deploy launch kn2")
        assert answer["Error"] == "", answer
        _wait_for_size(fleet.driver, 2)


def test_who_is_in_no_cluster_is_told_what_to_do() -> None:
    with _fleet(2) as fleet:
        fleet.driver.start()
        (answer,) = fleet.driver.answers("deploy launch kn2")
        assert "no cluster to make it a member of" in str(answer["Error"])
        assert "cluster init" in str(answer["Error"])


@pytest.mark.full
@requires("sudo")
def test_an_ordinary_user_deploys_by_sudo_and_the_log_goes_where_it_shall() -> None:
    with _fleet(3, sudoers=["kn2"]) as fleet:
        kn2 = fleet.lab.hosts[1]
        fleet.driver.start()
        fleet.driver.ask("cluster init")
        (plain,) = fleet.driver.answers(f"deploy launch kn2 {_USER}")
        assert f'user "{_USER}" is not root on "kn2"' in str(plain["Error"])
        assert "sudo" in str(plain["Error"])
        assert fleet.driver.ask("deploy stdout") == fleet.driver.ask("deploy stderr") == f"kn1: {_LOG}"
        fleet.driver.ask(f"deploy flags -base {_BASE} -accel tcg -level info")
        fleet.driver.ask("deploy stdout /var/log/told")
        fleet.driver.ask("deploy stderr '/var/log/a log'")
        answers = {str(one["Host"]): one for one in fleet.driver.answers(f"deploy launch kn[2-3] {_USER} sudo")}
        assert "password is required" in str(answers["kn3"]["Error"]), answers["kn3"]
        assert answers["kn2"]["Error"] == "", answers["kn2"]
        assert "started, a member as kn2" in str(answers["kn2"]["Response"])
        _wait_for_size(fleet.driver, 2)
        assert fleet.shell(kn2, f"stat -c %U /proc/$(cat {_BASE}/minimega.pid)") == "root"
        assert fleet.shell(kn2, "stat -c %U:%a /opt/megatools/bin/minimega") == "root:755"
        found = fleet.shell(kn2, "cd /var/log; ls; test -s 'a log'; grep -c . 'a log'").split("\n")
        assert found[:2] == ["a log", "told"] and int(found[2]) > 0, found


@pytest.mark.full
def test_an_older_daemon_gives_way_and_its_vms_are_adopted() -> None:
    with _fleet(2) as fleet:
        kn2 = fleet.lab.hosts[1]
        fleet.driver.start()
        fleet.driver.ask("cluster init")
        flags = f"-base {_BASE} -accel tcg"
        fleet.driver.ask(f"deploy flags {flags}")
        (first,) = fleet.driver.answers("deploy launch kn2")
        assert first["Error"] == "", first
        version = fleet.there(kn2, ".annotate false version")
        fleet.shell(kn2, f"kill $(cat {_BASE}/minimega.pid); while [ -e {_BASE}/minimega ]; do sleep 0.1; done")
        fleet.shell(kn2, f"echo 0123456 >/opt/megatools/{revision.NOTE}")
        fleet.shell(kn2, f"setsid nohup minimega -nostdin {flags} </dev/null >/dev/null 2>&1 &")
        _until(lambda: "0123456" in fleet.there(kn2, ".annotate false version"))
        for line in ("vm config memory 32", "vm launch kvm old", "vm start old"):
            fleet.there(kn2, line)
        before = fleet.shell(kn2, f"cat {_BASE}/minimega.pid {_BASE}/*/qemu.pid").split()
        (again,) = fleet.driver.answers("deploy launch kn2")
        assert again["Error"] == "" and "started" in str(again["Response"]), again
        after = fleet.shell(kn2, f"cat {_BASE}/minimega.pid {_BASE}/*/qemu.pid").split()
        assert after[0] != before[0] and after[1:] == before[1:]
        assert fleet.there(kn2, ".annotate false version") == version
        states = fleet.there(kn2, ".annotate false .headers false .columns name,state vm info")
        assert states.split() == ["old", "|", "RUNNING"]
        _wait_for_size(fleet.driver, 2)
        assert "old" in fleet.driver.ask("mesh send kn2 vm info")
        fleet.there(kn2, "vm kill old")
