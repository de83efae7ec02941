"""What belongs to one machine: which paths, which files are keys, what people are told."""

import io
import tarfile
from pathlib import Path

import pytest

from megatools.vmbetter import secrets
from megatools.vmbetter.stages import hostkeys
from megatools.vmbetter.targets import initrd, rootfs
from megatools.vmbetter.tree import Layer, Member

KEY = b"-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n"
ONE_MACHINES = [
    "etc/ssh/ssh_host_ed25519_key", "etc/machine-id", "var/lib/systemd/credential.secret", "etc/bind/rndc.key",
    "etc/ssl/private/ssl-cert-snakeoil.key", "etc/dropbear/dropbear_rsa_host_key", "etc/munge/munge.key",
    "etc/nvme/hostid", "etc/nvme/hostnqn", "etc/hostid", "var/lib/NetworkManager/secret_key",
]  # fmt: skip


@pytest.mark.parametrize("name", ONE_MACHINES)
def test_no_image_has_them(name: str) -> None:
    assert secrets.of_one_machine(name)
    assert not initrd.belongs(name)
    assert not rootfs.with_kernel(name)


@pytest.mark.parametrize("name", ["etc/ssh/sshd_config", "etc/ssl/certs/ssl-cert-snakeoil.pem", "root/.ssh/id_rsa"])
def test_all_images_have_others(name: str) -> None:
    assert not secrets.of_one_machine(name)
    assert rootfs.with_kernel(name)


def test_keys_are_found_by_their_content(tmp_path: Path) -> None:
    files = {
        "etc/x.key": KEY,
        "etc/pub.pem": b"-----BEGIN PUBLIC KEY-----\n",
        "usr/share/test/published.key": KEY,
        "var/lib/y/tls.pem": b"certificate\n" + KEY.replace(b"PRIVATE", b"RSA PRIVATE"),
        "etc/ssh/ssh_host_rsa_key": KEY,
        "etc/munge/munge.key": b"\0\1",
    }
    with tarfile.open(tmp_path / "tree.tar", "w") as made:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    assert secrets.found(tmp_path / "tree.tar") == ["etc/x.key", "var/lib/y/tls.pem", "etc/munge/munge.key"]


def test_people_are_told_what_is_missed_what_is_shared_and_what_of_theirs_is_left_out() -> None:
    layer = Layer(Path("unused"), gone=("etc/old",))
    of_base = ["etc/munge/munge.key", "etc/old/tls.key", "etc/tls.key"]
    brought = {"root/.ssh/id_rsa", "etc/ssh/ssh_host_rsa_key"}
    told = secrets.warnings(of_base, ["etc/made.key", "root/.ssh/id_rsa"], layer, brought)
    again = "make it anew where it is needed"
    assert told == [
        f'left out, as all machines would share it: "/etc/munge/munge.key"; {again}',
        'left out, though an overlay has it, as all machines would share it: "/etc/ssh/ssh_host_rsa_key"',
        'all machines that boot this will share the private key in "/etc/made.key", "/etc/tls.key"',
    ]
    assert secrets.warnings([], [], None, {"etc/motd"}) == []


def test_whoever_runs_sshd_makes_host_keys(tmp_path: Path) -> None:
    service = Member("usr/lib/systemd/system/ssh.service", "file", 0o644, 0, 0, 1, 1)
    assert hostkeys.are_needed([service])
    assert not hostkeys.are_needed([Member("usr/sbin/sshd", "file", 0o755, 0, 0, 1, 1)])
    top = hostkeys.overlay(tmp_path)
    modes = {str(path.relative_to(top)): path.stat().st_mode & 0o777 for path in (top, *top.rglob("*"))}
    assert modes["etc/systemd/system/ssh.service.d/host-keys.conf"] == 0o644
    assert {mode for name, mode in modes.items() if not name.endswith(".conf")} == {0o755}
    assert "ssh-keygen -A" in (top / "etc/systemd/system/ssh.service.d/host-keys.conf").read_text()
