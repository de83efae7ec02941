"""igor's whole promise: nodes boot from the network what their reservation says, and the default when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.igor.boot import grub, ipxe
from tests.support import netns
from tests.support.bootlab import LDLINUX, OVMF_CODE, PXELINUX, BootLab, Node, boot_lab, default_files
from tests.support.igor import Igor
from tests.support.requires import requires

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(1500),
    requires("qemu-system-x86_64", "dnsmasq", "ip", "grub-mkimage"),
]
READY = "megatools: ready"
BOOT_S = 600.0  # patience on a machine that does other things; seconds are enough on a quiet one


@pytest.fixture
def place() -> Iterator[Path]:
    for needed in (PXELINUX, LDLINUX, OVMF_CODE):
        assert needed.exists(), f"{needed} is missing (scripts/install --dev)"
    with netns.base_directory() as directory:
        directory.chmod(0o755)
        yield directory


def prepared(place: Path, image: tuple[Path, Path]) -> Igor:
    """A cluster of four nodes set up by `igor setup`, with a default to boot."""
    igor = Igor(place, nodes=4)
    igor.configure()
    igor.run("setup")
    assert (igor.root / grub.DEFAULT_PATH).exists()
    assert (igor.root / ipxe.DEFAULT_PATH).exists()
    default_files(igor.root, *image)
    return igor


def give_power(igor: Igor, lab: BootLab) -> None:
    """Let igor switch the nodes itself."""
    line = f"{lab.switch_script} {{action}} {{}}"
    power = {"driver": "command", "on": line, "off": line, "cycle": line, "status": line, "timeout_s": 60}
    igor.configure(power=power)


def booted(lab: BootLab, names: list[str], marker: str) -> None:
    """Wait until nodes run what was asked for: its arguments, its initrd, its own address."""
    for name in names:
        node = lab.nodes[name]
        log = lab.wait_for(name, READY, f"megatools: lease {node.address}", timeout_s=BOOT_S)
        assert f"marker={marker}" in log, log[-2000:]


def test_a_node_boots_what_its_reservation_says(place: Path, image: tuple[Path, Path]) -> None:
    igor = prepared(place, image)
    kernel, initrd = map(str, image)
    with boot_lab(igor.root, [Node(1)]) as lab:
        give_power(igor, lab)
        igor.run("nodes", "import", str(_inventory(place, lab)))
        arguments = "console=ttyS0 marker=alice"
        igor.run("sub", "-r", "testing", "-k", kernel, "-i", initrd, "-w", "kn1", "-c", arguments, "-reboot")
        booted(lab, ["kn1"], "alice")
        assert "pxelinux.cfg/01-52-54-00-77-00-01" in lab.server_log()
        igor.run("del", "testing")
        assert not (igor.root / "pxelinux.cfg/01-52-54-00-77-00-01").exists()


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_bios_uefi_and_http_nodes_boot_the_users_image_and_then_the_default(
    place: Path, image: tuple[Path, Path]
) -> None:
    igor = prepared(place, image)
    kernel, initrd = map(str, image)
    nodes = [Node(1), Node(2, card="e1000"), Node(3, "uefi"), Node(4, "http")]
    with boot_lab(igor.root, nodes) as lab:
        give_power(igor, lab)
        igor.run("nodes", "import", str(_inventory(place, lab)))
        for group in (["kn1", "kn2", "kn3"], ["kn4"]):  # BIOS, BIOS by address, UEFI in one reservation; then HTTP
            arguments = f"console=ttyS0 marker={group[0]}"
            words = ["-k", kernel, "-i", initrd, "-w", ",".join(group), "-c", arguments, "-reboot"]
            igor.run("sub", "-r", "mine", *words)
            booted(lab, group, group[0])
            igor.run("del", "mine")
            igor.run("power", "cycle", "-w", ",".join(group), timeout_s=300)
            booted(lab, group, "default")
            igor.run("power", "off", "-w", ",".join(group), timeout_s=300)
        found = igor.run("power", "status", "-w", "kn[1-4]").stdout
        assert found.count("off") == len(nodes)
        assert "pxelinux.cfg/0A4D0016 to" in lab.server_log(), "kn2 is known by its address only"


def _inventory(place: Path, lab: BootLab) -> Path:
    """What is known of the nodes; of kn2 the address only, as in 2013."""
    lines = ["node,mac,ip,boot"]
    for node in lab.nodes.values():
        mac = "" if node.number == 2 else node.mac
        lines.append(f"{node.name},{mac},{node.address},{node.firmware}")
    path = place / "nodes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
