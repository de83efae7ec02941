"""The document's VMBetter section, followed line by line by somebody who has unpacked a tarball: there is no .git."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.hostkit.errors import NotFound
from megatools.vmbetter import manifest
from tests.support import netns
from tests.support.images import REPOSITORY
from tests.support.requires import requires

pytestmark = [
    requires("git", "mmdebstrap", "zstd", "cpio"),
    pytest.mark.root,
    pytest.mark.full,
    pytest.mark.timeout(1500),
]

INSTALL = "scripts/install --unrecorded --no-services --no-packages"  # README's line, leaving this host as it is
DOCUMENTS = "sudo ./bin/vmbetter ./misc/vmbetter_configs/kane_host.conf"
SAMPLES = "default_amd64.conf", "kane_host.conf", "tiny.conf", "guest.conf", "router.conf"


def run(line: str, directory: Path) -> str:
    """What a shell says to a line, as root; both outputs."""
    environment = {name: text for name, text in os.environ.items() if name not in ("MEGATOOLS_HOME", "PYTHONPATH")}
    words = ["bash", "-c", f'sudo() {{ "$@"; }}; {line}']
    done = subprocess.run(
        words, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def top() -> Iterator[Path]:
    """The top directory of the tools, from a tarball."""
    with netns.base_directory() as base:
        (base / "megatools").mkdir()
        words = f"git -C {REPOSITORY} archive --format tar HEAD | tar -x -C megatools"
        subprocess.run(["bash", "-o", "pipefail", "-c", words], cwd=base, check=True)
        run(INSTALL, base / "megatools")
        yield base / "megatools"


def test_samples_are_where_the_document_says(top: Path) -> None:
    assert not (top / ".git").exists()
    assert {path.name for path in (top / "misc/vmbetter_configs").glob("*.conf")} == set(SAMPLES)
    shown = run("./bin/vmbetter --dry-run ./misc/vmbetter_configs/kane_host.conf", top)
    assert "misc/vmbetter_configs/default_amd64.conf" in shown, "which kane_host includes"


def test_the_documents_line_leaves_a_kernel_and_an_initrd(top: Path) -> None:
    before = set(top.iterdir())
    run(DOCUMENTS, top)
    made = {path.name for path in set(top.iterdir()) - before}
    assert made == {"kane_host.kernel", "kane_host.initrd", "kane_host.lock", "kane_host.manifest"}
    kernel, initrd = top / "kane_host.kernel", top / "kane_host.initrd"
    assert kernel.read_bytes()[0x202:0x206] == b"HdrS", "a kernel as boot loaders know it (Documentation/x86/boot)"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (kernel, initrd)} == {0o644}
    # "it allows passwordless root logins, includes QEMU, and can serve dhcp"
    names = listed(initrd)
    assert {"usr/bin/qemu-system-x86_64", "usr/sbin/dnsmasq", "opt/megatools/bin/minimega", "init"} <= names
    assert not any(name.startswith("opt/megatools/.git") for name in names)
    found = manifest.find(initrd)
    assert {"qemu-system-x86", "dnsmasq-base", "openvswitch-switch"} <= {offer.name for offer in found.packages}
    with pytest.raises(NotFound):
        manifest.find(top / "README.md")


def listed(initrd: Path) -> set[str]:
    """The names in all segments of an initrd."""
    found: set[str] = set()
    data = subprocess.run(["zstd", "-dc", str(initrd)], stdout=subprocess.PIPE, check=True).stdout
    at = 0
    while at < len(data):  # records of newc: 13 numbers of 8 hex digits after the magic
        if data[at : at + 6] != b"070701":
            at += 4
            continue
        size, length = int(data[at + 54 : at + 62], 16), int(data[at + 94 : at + 102], 16)
        found.add(data[at + 110 : at + 110 + length - 1].decode(errors="replace"))
        at += -(-(110 + length) // 4) * 4
        at += -(-size // 4) * 4
    return found
