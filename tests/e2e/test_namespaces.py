"""What a namespace owns, and what a VM is made of: configurations, NICs, screens, disks; clear, nuke."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import CommandRefused, Daemon
from tests.support.lab import Lab
from tests.support.requires import requires
from tests.support.traces import Traces, switch_ports, traces

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64", "ovs-vswitchd", "dnsmasq", "qemu-img")]

NONE: frozenset[str] = frozenset()
NOTHING = Traces(NONE, NONE, NONE, NONE, 0, NONE)
BARE = ("vm config vga none", "vm config memory 32")


def tell(daemon: Daemon, *lines: str, namespace: str = "minimega") -> None:
    for line in lines:
        daemon.ask(f"namespace {namespace} {line}")


def furnish(daemon: Daemon, namespace: str, net: str) -> None:
    """A network called lan with a host tap and a DHCP server, and a VM called web on it."""
    tell(
        daemon,
        f"tap create lan ip {net}.1/24",
        f"dnsmasq start {net}.1 {net}.2 {net}.254",
        *BARE,
        "vm config networks lan",
        "vm launch kvm web",
        namespace=namespace,
    )


def owned(daemon: Daemon, namespace: str) -> dict[str, list[tuple[str, ...]]]:
    """All lists of a namespace, as comparable rows."""
    commands = ("vm info summary", "tap", "vlans", "dnsmasq", ".columns name,tap,mac,vlan vm info")
    return {
        command: [tuple(row.values()) for row in daemon.rows(f"namespace {namespace} {command}")]
        for command in commands
    }


def test_a_namespace_owns_its_vms_networks_and_servers(daemon: Daemon, lab: Lab) -> None:
    furnish(daemon, "red", "10.1.0")
    furnish(daemon, "blue", "10.2.0")
    red, blue = owned(daemon, "red"), owned(daemon, "blue")
    assert {command: len(rows) for command, rows in red.items()} == dict.fromkeys(red, 1)
    assert {command: len(rows) for command, rows in blue.items()} == dict.fromkeys(blue, 1)
    assert red["vlans"][0][0] == blue["vlans"][0][0] == "lan"
    assert red["vlans"][0][1] != blue["vlans"][0][1]
    assert owned(daemon, "minimega") == {command: [] for command in red}
    assert daemon.ask(".annotate false vm config networks") == ""
    assert {row["namespace"] for row in daemon.rows("namespace")} == {"minimega", "red", "blue"}

    tell(daemon, "vm start web", namespace="red")
    assert daemon.rows("namespace blue vm info")[0]["state"] == "BUILDING"
    tell(daemon, "vm kill all", "vm flush", namespace="red")
    assert owned(daemon, "blue") == blue
    number = daemon.rows("namespace blue dnsmasq")[0]["id"]
    assert "invalid id" in daemon.refused(f"namespace red dnsmasq kill {number}")
    assert "not a host tap in active namespace" in daemon.refused(
        f"namespace red tap delete {daemon.rows('namespace blue tap')[0]['tap']}"
    )

    tell(daemon, "clear namespace red")
    assert {row["namespace"] for row in daemon.rows("namespace")} == {"minimega", "blue"}
    assert "unknown namespace: `red`" in daemon.refused("clear namespace red")
    assert owned(daemon, "blue") == blue
    assert len(daemon.qemus()) == 1
    kept = {row[1] for row in blue["tap"]} | {daemon.rows("namespace blue vm info")[0]["tap"].strip("[]")}
    assert lab.links() & {f"mega_tap{number}" for number in range(20)} == kept

    daemon.ask("clear all")
    assert [row["namespace"] for row in daemon.rows("namespace")] == ["minimega"]
    left = traces(daemon, lab)
    assert (left.vms, left.taps, left.processes, left.directories) == (NONE, NONE, 0, NONE)
    assert not any(name.startswith("mega_tap") for name in left.links | left.ports)


def test_the_active_namespace_is_where_later_connections_start(daemon: Daemon) -> None:
    daemon.ask("namespace red")
    tell(daemon, *BARE, namespace="red")
    daemon.ask("vm launch kvm a")
    assert [row["name"] for row in daemon.rows("namespace red vm info")] == ["a"]
    assert daemon.ask(".annotate false namespace minimega .columns name vm info") == ""
    with daemon.connect() as mine:
        list(mine.command("namespace blue"))
        daemon.ask("namespace red")
        (reply,) = mine.command(".annotate false .columns namespace .filter active=true namespace")
        assert reply.rendered.split() == ["namespace", "blue"]
    daemon.ask("clear namespace")
    assert daemon.rows("vm info") == []


def test_configurations_are_saved_restored_and_cloned(daemon: Daemon) -> None:
    tell(daemon, *BARE, "vm config networks lan,00:11:22:33:44:55 2,virtio-net-pci", "vm config tags role web")
    first = daemon.ask("vm config")
    tell(daemon, "vm config save one", "vm launch kvm a", "clear vm config", "vm config memory 48")
    assert "no vm configs saved" in daemon.refused("namespace other vm config restore")
    assert "config one does not exist" in daemon.refused("namespace other vm config restore one")
    tell(daemon, "vm config save two", "vm config restore one")
    assert daemon.ask("vm config") == first
    assert daemon.ask(".annotate false vm config restore").split() == ["one", "two"]
    tell(daemon, "clear vm config")
    daemon.ask(f"read {daemon.base}/0/config")
    assert daemon.ask("vm config") == first
    tell(daemon, "clear vm config", "vm config uuid 11111111-2222-3333-4444-555555555555", "vm config clone a")
    assert daemon.ask("vm config") == first
    tell(daemon, "vm config restore two", "vm launch kvm b", "vm launch kvm c one")
    memory = {row["name"]: (row["memory"], row["tags"]) for row in daemon.rows("vm info")}
    assert memory == {"a": ("32", '{"role":"web"}'), "b": ("48", "{}"), "c": ("32", '{"role":"web"}')}


def test_every_name_gets_a_vlan_of_its_own_and_keeps_it(daemon: Daemon) -> None:
    tell(daemon, "vlans range 300 303", *BARE, "vm config networks x y x 200", "vm launch kvm a", namespace="red")
    assert daemon.rows("namespace red vm info")[0]["vlan"] == "[x (300), y (301), x (300), 200]"
    tell(daemon, "vlans add z 302", "vm config networks z z//z", namespace="red")
    assert "out of VLANs" in daemon.refused("namespace red tap create w")
    tell(daemon, "vm launch kvm b", namespace="red")
    assert daemon.rows("namespace red vm info")[1]["vlan"].startswith("[z (302), ")
    assert {"vlan": "200"} in [{"vlan": row["vlan"]} for row in daemon.rows("vlans blacklist")]


def argv(daemon: Daemon, name: str) -> list[str]:
    """The words a VM's QEMU was started with."""
    return Path(f"/proc/{daemon.vm(name)['pid']}/cmdline").read_bytes().decode().rstrip("\0").split("\0")


def test_vga_none_drops_screen_and_tablet_and_nothing_else(daemon: Daemon) -> None:
    tell(daemon, "vm config memory 32", "vm launch kvm full", "vm config vga none", "vm launch kvm lean")
    full, lean = " ".join(argv(daemon, "full")), " ".join(argv(daemon, "lean"))
    for part in ("usb-tablet", "-vga std", "-vnc unix:"):
        assert part in full
        assert part not in lean
    for part in ("virtserialport", "media=cdrom"):
        assert part in full
        assert part in lean
    assert "has no screen" in daemon.refused("vm screenshot lean") or "not running" in daemon.refused(
        "vm screenshot lean"
    )
    assert not (daemon.base / daemon.vm("lean")["id"] / "vnc").exists()
    assert (daemon.base / daemon.vm("full")["id"] / "vnc").exists()


def test_snapshot_disks_are_overlays_of_an_image_that_stays_as_it_is(daemon: Daemon, tmp_path: Path) -> None:
    image = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "16M"], check=True, timeout=60)
    before = hashlib.sha256(image.read_bytes()).digest()
    tell(daemon, *BARE, f"vm config disks {image}", "vm launch kvm a,b", "vm start all")
    overlays = [daemon.base / daemon.vm(name)["id"] / "disk-0.qcow2" for name in ("a", "b")]
    for overlay in overlays:
        told = subprocess.run(["qemu-img", "info", "-U", str(overlay)], capture_output=True, check=True, timeout=60)
        assert str(image) in told.stdout.decode()
    tell(daemon, "vm config snapshot false")
    message = daemon.refused("vm launch kvm c")
    assert "disk conflict with vm" in message
    assert str(image) in message
    tell(daemon, "vm kill all", "vm flush", "vm launch kvm c")
    assert not any(overlay.exists() for overlay in overlays)
    assert hashlib.sha256(image.read_bytes()).digest() == before
    assert not list((daemon.base / daemon.vm("c")["id"]).glob("disk-*"))
    tell(daemon, "vm config snapshot true")
    assert "disk conflict with vm c" in daemon.refused("vm launch kvm d")


@pytest.mark.timeout(240)
def test_each_nic_model_gets_a_lease(daemon: Daemon, lab: Lab, image: tuple[Path, Path]) -> None:
    kernel, initrd = image
    tell(daemon, "tap create lan ip 10.5.0.1/24", "dnsmasq start 10.5.0.1 10.5.0.2 10.5.0.254", "vm config vga none")
    tell(daemon, f"vm config kernel {kernel}", f"vm config initrd {initrd}", "vm config memory 256")
    for name, nic in (("old", "lan"), ("new", "lan,virtio-net-pci")):
        tell(daemon, f"vm config networks {nic}", f"vm launch kvm {name}")
    assert "e1000,netdev=" in " ".join(argv(daemon, "old"))
    assert "virtio-net-pci,netdev=" in " ".join(argv(daemon, "new"))
    daemon.ask("vm start all")
    rows = daemon.wait_for_addresses(2, timeout_s=180)
    addresses = {row["ip"].strip("[]") for row in rows}
    assert len(addresses) == 2
    for address in addresses:
        assert address.startswith("10.5.0.")
        assert "1 received" in lab.run("ping", "-c", "1", "-w", "30", address)


@pytest.mark.parametrize("command", ["nuke", "nuke all"])
def test_nuke_leaves_the_files_unless_told_otherwise(lab_daemon: tuple[Daemon, Lab], command: str) -> None:
    daemon, lab = lab_daemon
    daemon.start()
    furnish(daemon, "minimega", "10.6.0")
    furnish(daemon, "red", "10.7.0")
    (daemon.base / "files" / "kept").write_text("precious")
    with subprocess.Popen(["sleep", "600"]) as stranger:
        (daemon.base / "99").mkdir()  # what a stale pid file says must not be believed
        (daemon.base / "99" / "qemu.pid").write_text(f"{stranger.pid}\n")
        try:
            daemon.ask(command)
            assert daemon.process is not None
            assert daemon.process.wait(60) == 0
            assert stranger.poll() is None
        finally:
            stranger.kill()
    assert daemon.qemus() == []
    assert lab.links() == set()
    assert switch_ports(daemon, lab) == NONE
    left = sorted(str(path.relative_to(daemon.base)) for path in daemon.base.rglob("*"))
    assert left == ([] if command == "nuke all" else ["files", "files/kept"])
    daemon.start()
    assert traces(daemon, lab) == NOTHING
    with pytest.raises(CommandRefused):
        daemon.ask("vm start web")


def test_vlan_names_keep_to_the_range_the_daemon_was_given(lab_daemon: tuple[Daemon, Lab]) -> None:
    daemon, _ = lab_daemon
    daemon.flags = ("-vlanrange", "300-302")
    daemon.start()
    for line in ("vm config vga none", "vm config memory 64", "vm config networks a b", "vm launch kvm 1"):
        daemon.ask(line)
    assert {row["alias"]: row["vlan"] for row in daemon.rows("vlans")} == {"a": "300", "b": "301"}
    daemon.ask("vm config networks c")
    assert "out of VLANs" in daemon.refused("vm launch kvm 1")
