"""What a build says is so: dates, keys of one machine, tools, compression, differences."""

import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.integration.vmbetter.conftest import CONFIG, HELLO, Workshop
from tests.support.archive import Deb, toy_system
from tests.support.requires import requires

pytestmark = [requires("mmdebstrap", "zstd", "unshare", "gpg", "dpkg-deb"), pytest.mark.root, pytest.mark.timeout(300)]

KEY = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n"
SSH = Deb(
    "toy-ssh",
    files={"usr/lib/systemd/system/ssh.service": "[Service]\n", "etc/toy/made.key": KEY, "etc/hostid": "ab\n"},
)
OLD = Deb("linux-image-old", files={"boot/vmlinuz-5.1-old": "no kernel\n", "boot/config-5.1-old": "CONFIG_RD_GZIP=y\n"})


def names(tar: Path) -> list[str]:
    with tarfile.open(tar) as archive:
        return [member.name.removeprefix("./") for member in archive]


def dates(tar: Path) -> set[int]:
    with tarfile.open(tar) as archive:
        return {int(member.mtime) for member in archive}


def test_an_images_date_is_the_locks_or_what_the_environment_says(workshop: Workshop) -> None:
    workshop.config(CONFIG + "postbuild = `echo new > /new`")
    workshop.build("--rootfs-tar", "x.conf")
    lock = json.loads((workshop.directory / "x.lock").read_bytes())["date"]
    assert max(dates(workshop.directory / "x.tar")) == lock
    workshop.build("--rootfs-tar", "x.conf", env={"SOURCE_DATE_EPOCH": "0"})
    assert dates(workshop.directory / "x.tar") == {0}
    before = (workshop.directory / "x.tar").read_bytes()
    done = workshop.build("--rootfs-tar", "x.conf", env={"SOURCE_DATE_EPOCH": "now"}, check=False)
    assert (done.status, 'SOURCE_DATE_EPOCH "now" is not a number' in done.stderr.decode()) == (2, True)
    assert (workshop.directory / "x.tar").read_bytes() == before


def test_keys_of_one_machine_are_in_no_image_and_others_are_told(workshop: Workshop) -> None:
    workshop.archive.publish([*toy_system(), HELLO, SSH], "secret")
    over = workshop.directory / "over"
    (over / "etc/ssh").mkdir(parents=True)
    (over / "etc/ssh/ssh_host_rsa_key").write_text(KEY)
    (over / "root/.ssh").mkdir(parents=True)
    (over / "root/.ssh/id_rsa").write_text(KEY)
    workshop.config('packages = "toy-ssh linux-image-toy"\noverlay = "over"\npostbuild = `cp /etc/hostid /etc/copy`')
    for _ in range(2):  # the second time from the cache
        said = workshop.build("--branch", "secret", "--rootfs-tar", "x.conf").stderr.decode()
        assert 'warning: all machines that boot this will share the private key in "/etc/toy/made.key"\n' in said
        assert 'warning: left out, as all machines would share it: "/etc/hostid"; make it anew' in said
        assert 'left out, though an overlay has it, as all machines would share it: "/etc/ssh/ssh_host_rsa_key"' in said
    there = names(workshop.directory / "x.tar")
    assert {"root/.ssh/id_rsa", "etc/toy/made.key", "etc/copy"} <= set(there), "nothing else is dropped"
    assert not {"etc/hostid", "etc/ssh/ssh_host_rsa_key"} & set(there)
    assert "ssh-keygen -A" in workshop.file("etc/systemd/system/ssh.service.d/host-keys.conf")


def test_a_kernel_that_cannot_unpack_zstd_gets_what_it_can(workshop: Workshop) -> None:
    workshop.archive.publish([*toy_system(), OLD], "old")
    for script in ("", "postbuild = `rm /etc/debian_version`"):  # in segments, and packed whole
        workshop.config(f'packages = "linux-image-old"\n{script}')
        said = workshop.build("--branch", "old", "x.conf").stderr.decode()
        assert 'kernel "5.1-old" does not unpack zstd (CONFIG_RD_ZSTD is off): gzip is used' in said
        assert (workshop.directory / "x.initrd").read_bytes().startswith(b"\x1f\x8b")


def test_images_differ_in_all_that_made_them(workshop: Workshop) -> None:
    for folder, text in (("one/over", "1"), ("two/over", "2")):
        (workshop.directory / folder).mkdir(parents=True)
        (workshop.directory / folder / "file").write_text(text)
    workshop.config(CONFIG + 'overlay = "one/over"\noverlay = "two/over"')
    workshop.build("x.conf")
    workshop.config(CONFIG + 'overlay = "two/over"\noverlay = "one/over"', "y.conf")
    workshop.build("--compress", "gzip", "--lock", "x.lock", "y.conf", env={"SOURCE_DATE_EPOCH": "7"})
    lines = workshop.run("diff", "x.initrd", "y.initrd").text.splitlines()
    wanted = ["+ option compress gzip", "~ overlay file over/file", "~ overlay file over(2)/file", "~ result initrd"]
    assert set(wanted) <= set(lines)
    assert any(line.startswith("~ date 20") and line.endswith("-> 1970-01-01T00:00:07Z") for line in lines)
    assert any(line.startswith("- tool *** Zstandard CLI") or "zstd" in line.lower() for line in lines)
    shown = workshop.run("manifest", "y.initrd").text
    assert "options:\n  compress=gzip\n" in shown
    assert "\n  mmdebstrap " in shown
    assert "\n  dpkg " in shown


def test_what_is_asked_of_no_target_is_refused_before_anything_is_done(workshop: Workshop) -> None:
    workshop.config()
    done = workshop.build("--rootfs-tar", "--append", "quiet", "x.conf", check=False)
    assert done.status == 2
    assert [path.name for path in workshop.directory.iterdir()] == ["x.conf"]


def test_names_and_attributes_that_are_no_text_are_built_in(workshop: Workshop) -> None:
    path = workshop.directory / os.fsdecode(b"over/x\xff")
    path.parent.mkdir()
    path.write_text("content")
    os.setxattr(path, "user.note", b"\xff\xfe")
    workshop.config(CONFIG + 'overlay = "over"\npostbuild = `touch "$(printf "/y\\377")"`')
    done = workshop.build("--initrd", "--rootfs-tar", "--json", "x.conf")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    lost = [event["text"] for event in events if event["kind"] == "warning"]
    assert [text.partition(" are lost")[0] for text in lost] == [
        r'an initrd has no extended attributes, those of "/x\udcff" (user.note)'
    ]
    with tarfile.open(workshop.directory / "x.tar") as archive:
        assert {"./x\udcff", "./y\udcff"} <= set(archive.getnames())
    assert "over/x\\xff" in workshop.run("manifest", "x.tar").text
