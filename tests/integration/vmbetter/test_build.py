"""Real builds: the cache without a network, failures that leave nothing, postbuilds that cannot hurt the host."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from megatools.hostkit import proc
from megatools.vmbetter.cache import default_root
from tests.support.images import REPOSITORY, tiny_image, vmbetter
from tests.support.requires import requires

pytestmark = [requires("mmdebstrap", "zstd", "cpio", "unshare"), pytest.mark.root, pytest.mark.timeout(900)]

TINY = REPOSITORY / "misc/vmbetter_configs/tiny.conf"
# the packages of tiny, so that this stage comes from the cache
PACKAGES = 'packages = "linux-image-amd64 busybox-static qemu-guest-agent"\n'


def listing(initrd: Path) -> str:
    plain = subprocess.run(["zstd", "-dc", str(initrd)], capture_output=True, check=True).stdout
    return subprocess.run(["cpio", "-tvn"], input=plain, capture_output=True, check=True).stdout.decode()


def test_an_unchanged_build_needs_no_network_and_gives_the_same(tmp_path: Path) -> None:
    kernel, initrd = tiny_image()
    (tmp_path / "tiny.lock").write_bytes((initrd.parent / "tiny.lock").read_bytes())
    argv = ["unshare", "--net", sys.executable, "-m", "megatools.vmbetter.cli", "--json", str(TINY)]
    done = proc.run_sync(argv, timeout_s=120, cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY / "src")})
    made = json.loads(done.stdout.splitlines()[-1])["files"]
    assert made == {"kernel": str(tmp_path / "tiny.kernel"), "initrd": str(tmp_path / "tiny.initrd")}
    assert (tmp_path / "tiny.initrd").read_bytes() == initrd.read_bytes()
    assert (tmp_path / "tiny.kernel").read_bytes() == kernel.read_bytes()
    assert stat.S_IMODE((tmp_path / "tiny.initrd").stat().st_mode) == 0o644
    assert initrd.stat().st_size <= 12_000_000


def test_a_failing_postbuild_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    tiny_image()
    (tmp_path / "bad.conf").write_text(PACKAGES + "postbuild = `echo about to fail\nno-such-command\nexit 7`")
    done = vmbetter("bad.conf", directory=tmp_path, check=False)
    said = done.stderr.decode()
    assert done.status == 8
    assert 'stage "postbuild" failed: postbuild at "bad.conf:2:14" ended with status 7' in said
    assert "no-such-command" in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["bad.conf"]
    assert list((default_root() / "work").iterdir()) == []
    assert str(default_root()) not in Path("/proc/self/mounts").read_text()


def test_overlays_and_postbuild_do_what_they_say_and_the_host_is_safe(tmp_path: Path) -> None:
    tiny_image()
    (tmp_path / "over/sbin").mkdir(parents=True)
    (tmp_path / "over/sbin/tool").write_text("#!/bin/sh\n")
    (tmp_path / "over/sbin/tool").chmod(0o4711)
    (tmp_path / "over/link").symlink_to("/etc/passwd")
    script = "rm -rf /dev/* 2>/dev/null; echo 77 > /proc/sys/kernel/hung_task_warnings 2>/dev/null; "
    script += "rm -rf /usr/lib/modules /usr/share; test -x /sbin/tool && echo seen > /marker"
    (tmp_path / "x.conf").write_text(f'{PACKAGES}overlay = "over"\npostbuild = `{script}`')
    warnings = Path("/proc/sys/kernel/hung_task_warnings")
    before = warnings.read_text() if warnings.exists() else None
    vmbetter("--output", "made", "x.conf", directory=tmp_path)
    lines = listing(tmp_path / "made.initrd").splitlines()
    by_name = {line.split(" -> ")[0].rsplit(None, 1)[-1]: line for line in lines}
    assert by_name["usr/sbin/tool"].startswith("-rws--x--x   1 0        0 ")
    assert by_name["sbin"].endswith("sbin -> usr/sbin")
    assert by_name["link"].endswith("link -> /etc/passwd")
    assert "marker" in by_name
    assert by_name["dev/null"].startswith("crw-rw-rw-")
    assert "etc/resolv.conf" not in by_name
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert (warnings.read_text() if warnings.exists() else None) == before


def test_a_build_killed_half_way_leaves_no_process_and_harms_no_later_build(tmp_path: Path) -> None:
    tiny_image()
    config = tmp_path / "slow.conf"
    config.write_text(PACKAGES + "postbuild = `sleep 86399`")
    argv = [sys.executable, "-m", "megatools.vmbetter.cli", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    with subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, env=environment) as build:
        assert build.stderr is not None
        assert any(b"postbuild: script" in line for line in build.stderr), "the build ended early"
        group = next_child(build.pid)
        build.send_signal(signal.SIGKILL)
    pidfd = open_if_alive(group)
    if pidfd is not None:
        try:
            assert proc.readable(pidfd, timeout_s=30), "what the build had started still runs"
        finally:
            os.close(pidfd)
    config.write_text(PACKAGES + "postbuild = `rm -rf /usr/lib/modules /usr/share /usr/bin /usr/lib`")
    vmbetter("slow.conf", directory=tmp_path)
    assert (tmp_path / "slow.initrd").stat().st_size > 0


def next_child(pid: int) -> int:
    """The first process a process starts from now on."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (found := children.read_text().split()):
        pass
    return int(found[0])


def open_if_alive(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def test_a_package_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text('packages = "no-such-package-here"')
    done = vmbetter("x.conf", directory=tmp_path, check=False)
    assert done.status == 2
    assert 'no package "no-such-package-here"' in done.stderr.decode()
    assert not list(tmp_path.glob("*.initrd"))


def test_a_package_is_named_with_its_place_and_its_nearest(tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text(PACKAGES + 'packages = "opensh-server"')
    done = vmbetter("x.conf", directory=tmp_path, check=False)
    assert done.status == 2
    assert 'x.conf:2:13: no package "opensh-server" in the sources' in done.stderr.decode()
    assert 'did you mean "openssh-server"?' in done.stderr.decode()


def test_a_postbuild_that_never_ends_is_ended(tmp_path: Path) -> None:
    tiny_image()
    (tmp_path / "x.conf").write_text(PACKAGES + "postbuild = `echo begun; sleep 86398`")
    done = vmbetter("--postbuild-timeout", "2", "x.conf", directory=tmp_path, check=False)
    assert done.status == 7
    assert 'postbuild at "x.conf:2:14" did not end within 2 s, after saying:\n    begun' in done.stderr.decode()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert b"sleep\x0086398\x00" not in commands


ESCAPES = """
set -x
! mount -t tmpfs none /mnt || exit 1
! mount -o remount,rw /proc/sys || exit 2
! echo b 2>/dev/null >/proc/sysrq-trigger || exit 3
[ "$(stat -c %d:%i /proc/1/root/)" = "$(stat -c %d:%i /)" ] || exit 4
mkdir -p /a && perl -e 'chroot("/a"); chdir(".." x 1) for 1..50; chroot("."); exit(-e "MARK" ? 1 : 0)' || exit 5
mknod /a/disk b MAJOR MINOR
! head -c 1 /a/disk >/dev/null 2>&1 || exit 6
for place in / /dev /dev/shm /run; do
    mknod $place/zero.again c 1 5 && mknod $place/disk b MAJOR MINOR || exit 6
    ! head -c 1 $place/zero.again >/dev/null 2>&1 && ! head -c 1 $place/disk >/dev/null 2>&1 || exit 6
    rm $place/zero.again $place/disk
done
[ "$(head -c 1 /dev/zero | wc -c)" = 1 ] && echo >/dev/null || exit 6
! ip link add gone type dummy 2>/dev/null || exit 7
rm -rf /dev/null /dev/zero 2>/dev/null
for path in proc/sys/kernel/hostname proc/scsi proc/fs proc/asound proc/driver sys/kernel/mm/ksm/run sys/fs/cgroup; do
    ! test -w /$path || exit 9
done
[ ! -e /dev/kmsg ] && [ ! -e /dev/vda ] && [ ! -e /dev/sda ] || exit 8
rm -rf /usr/lib/modules /usr/share /boot/System* /a
"""


def test_a_hostile_postbuild_reaches_nothing_of_the_host(tmp_path: Path) -> None:
    tiny_image()
    disk = os.stat(tmp_path).st_dev
    script = ESCAPES.replace("MARK", str(tmp_path).strip("/")).replace("MAJOR", str(os.major(disk)))
    (tmp_path / "x.conf").write_text(f"{PACKAGES}postbuild = `{script.replace('MINOR', str(os.minor(disk)))}`")
    vmbetter("x.conf", directory=tmp_path)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/zero").st_mode)


def test_a_changed_overlay_is_appended_and_the_kernel_unpacks_it(tmp_path: Path) -> None:
    tiny_image()
    (tmp_path / "over/etc").mkdir(parents=True)
    config = tmp_path / "x.conf"
    config.write_text(PACKAGES + 'overlay = "over"')
    sizes = []
    for text in ("one", "two and more"):
        (tmp_path / "over/etc/changed").write_text(text)
        vmbetter("x.conf", directory=tmp_path)
        sizes.append((tmp_path / "x.initrd").read_bytes())
    most = int(0.99 * len(sizes[0]))
    assert sizes[0][:most] == sizes[1][:most]
    assert "etc/changed" in listing_of(sizes[1][sizes[1].rindex(b"\x28\xb5\x2f\xfd") :])


def listing_of(segment: bytes) -> str:
    plain = subprocess.run(["zstd", "-dc"], input=segment, capture_output=True, check=True).stdout
    return subprocess.run(["cpio", "-t"], input=plain, capture_output=True, check=True).stdout.decode()


def test_manifests_say_what_changed(tmp_path: Path) -> None:
    tiny_image()
    (tmp_path / "x.conf").write_text(PACKAGES)
    vmbetter("x.conf", directory=tmp_path)
    (tmp_path / "y.conf").write_text(PACKAGES + "postbuild = `rm -rf /usr/share/bug`")
    vmbetter("y.conf", directory=tmp_path)
    shown = vmbetter("manifest", "x.initrd", directory=tmp_path).text
    assert "busybox-static" in shown
    assert vmbetter("diff", "x.initrd", "x.kernel", directory=tmp_path).text == "nothing changed\n"
    assert "+ postbuild script y.conf:2:14" in vmbetter("diff", "x.initrd", "y.initrd", directory=tmp_path).text
    document = json.loads(vmbetter("manifest", "--spdx", "y.kernel", directory=tmp_path).stdout)
    assert "busybox-static" in [package["name"] for package in document["packages"]]
    (tmp_path / "x.initrd").write_bytes(b"another")
    assert vmbetter("manifest", "x.initrd", directory=tmp_path, check=False).status == 3


def test_the_two_halves_of_a_build(tmp_path: Path) -> None:
    tiny_image()
    (tmp_path / "x.conf").write_text(PACKAGES + "postbuild = `rm -rf /usr/lib/modules /usr/share; echo here > /made`")
    vmbetter("-1", "x.conf", directory=tmp_path)
    assert (tmp_path / "x_stage1/usr/bin/busybox").is_file()
    assert not (tmp_path / "x_stage1/made").exists()
    vmbetter("-2", "x_stage1", "-O", "y", "x.conf", directory=tmp_path)
    assert (tmp_path / "x_stage1/made").read_text() == "here\n"
    assert (tmp_path / "y.initrd").stat().st_size > 0


@pytest.mark.full
@requires("debootstrap")
def test_debootstrap_builds_the_same_packages(tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text('packages = "less"')
    vmbetter("--engine", "debootstrap", "--rootfs-tar", "x.conf", directory=tmp_path)
    names = subprocess.run(["tar", "-tf", str(tmp_path / "x.tar")], capture_output=True, check=True).stdout.decode()
    assert "./usr/bin/less\n" in names
    assert "/usr/share/man/man1" not in names
