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
    argv = ["unshare", "--net", sys.executable, "-m", "megatools.vmbetter.cli", "--json", str(TINY)]
    done = proc.run_sync(argv, timeout_s=120, cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY / "src")})
    made = json.loads(done.stdout)
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


def test_options_of_later_versions_say_so(tmp_path: Path) -> None:
    for words in (["-disk"], ["-iso=true"], ["-size", "1G"], ["-1"]):
        done = vmbetter(*words, str(TINY), directory=tmp_path, check=False)
        assert done.status == 2
        assert "is not available yet" in done.stderr.decode()


@pytest.mark.full
def test_two_builds_are_byte_identical(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        vmbetter("--no-cache", "--cache", str(tmp_path / "cache"), str(TINY), directory=tmp_path / name)
    assert (tmp_path / "one/tiny.initrd").read_bytes() == (tmp_path / "two/tiny.initrd").read_bytes()
