"""`deploy launch` puts this version on other hosts over a real ssh, makes them members and starts them."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.cluster import mesh_size
from tests.support.daemon import Daemon
from tests.support.requires import requires

pytestmark = [requires("sshd", "ssh", "ssh-keygen"), pytest.mark.root, pytest.mark.timeout(600)]

_BASE = "/tmp/minimega"
# What a host writes stays on it: an empty disk where this machine's is in the way, and nothing of ours in it.
_OWN_DISK = "for d in /opt /usr/local /var/lib/megatools /var/log /tmp; do mkdir -p $d; mount -t tmpfs none $d; done"


class Fleet:
    """A host that deploys, kn1, and hosts with an ssh server and an empty disk."""

    def __init__(self, lab: hosts.Lab, place: Path, flags: Sequence[str]) -> None:
        self.lab, self.place = lab, place
        self._keys()
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
        (self.place / "authorized").chmod(0o600)
        (self.place / "ssh/config").write_text("Host *\n  StrictHostKeyChecking accept-new\n")
        lines = [f"Host {host.name}\n  HostName {host.address}\n" for host in self.lab.hosts]
        with (self.place / "ssh/config").open("a") as stream:
            stream.writelines(lines)
        config = f"HostKey {self.place}/host_key\nAuthorizedKeysFile {self.place}/authorized\nUsePAM no\n"
        config += "PermitRootLogin prohibit-password\nStrictModes no\nPidFile none\n"
        (self.place / "sshd_config").write_text(config)

    def _serve(self, host: hosts.Host) -> None:
        """An ssh server on a host whose disk is empty; its sessions see the same disk."""
        keep = f"mkdir -p /run/sshd; cp -r {self.place} /run/mt-keep; {_OWN_DISK}; mkdir -p {self.place.parent}"
        keep += f"; cp -r /run/mt-keep {self.place}; rm -rf /run/mt-keep"
        argv = [*_entering(host, keep), "/usr/sbin/sshd", "-D", "-e", "-f", str(self.place / "sshd_config")]
        self.servers.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True))
        deadline = time.monotonic() + 30
        while host.name not in self._answer(host):
            assert time.monotonic() < deadline, f"no ssh server on {host.name}"
            time.sleep(0.1)

    def _answer(self, host: hosts.Host) -> str:
        argv = [*self.driver.prefix, "ssh", "-o", "BatchMode=yes", host.name, "uname -n"]
        return subprocess.run(argv, capture_output=True, timeout=30, check=False).stdout.decode()

    def there(self, host: hosts.Host, line: str) -> str:
        """What a daemon on a host answers, asked over ssh."""
        argv = [*self.driver.prefix, "ssh", "-o", "BatchMode=yes", host.name]
        done = subprocess.run(
            [*argv, f"/usr/local/bin/minimega -base {_BASE} -e {line}"], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


def _entering(host: hosts.Host, script: str) -> tuple[str, ...]:
    """The words that run a program on a host with mounts of its own."""
    return (*host.prefix, "unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh")


@contextlib.contextmanager
def _fleet(count: int, *flags: str) -> Iterator[Fleet]:
    place = Path(tempfile.mkdtemp(prefix="mt-deploy-", dir="/tmp"))
    try:
        with hosts.lab(count) as lab:
            fleet = Fleet(lab, place, flags)
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
        assert fleet.there(fleet.lab.hosts[1], ".annotate false version").strip() == version
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
