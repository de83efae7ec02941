"""Command lines against the data files, and laws that hold for all of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.qemu import cmdline
from megatools.hostkit.qemu.devices import Disk, GuestPort, Interface
from tests.unit.hostkit.qemu.machines import HOME, MACHINES, PLAIN

DATA = Path(__file__).parent / "argv"


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_command_line_is_the_one_on_file(name: str) -> None:
    assert cmdline.argv(MACHINES[name]) == (DATA / f"{name}.txt").read_text().splitlines()


def test_every_file_has_a_machine() -> None:
    assert {path.stem for path in DATA.glob("*.txt")} == set(MACHINES)


def after(words: list[str], option: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words) if word == option]


def test_host_cpu_is_for_kvm_only() -> None:
    assert after(cmdline.argv(replace(PLAIN, accelerator="kvm")), "-cpu") == ["host"]
    assert after(cmdline.argv(replace(PLAIN, accelerator="tcg")), "-cpu") == ["max"]
    assert after(cmdline.argv(replace(PLAIN, accelerator="tcg", cpu="qemu64")), "-cpu") == ["qemu64"]


def test_no_screen_means_no_vga_vnc_or_usb() -> None:
    words = cmdline.argv(replace(PLAIN, vga="none"))
    assert "-vga" not in words and "-vnc" not in words and "usb" not in " ".join(after(words, "-device"))


def test_the_cdrom_drive_is_there_even_when_empty() -> None:
    assert [drive for drive in after(cmdline.argv(PLAIN), "-drive") if "media=cdrom" in drive]
    assert "-boot" not in cmdline.argv(PLAIN)


@pytest.mark.parametrize(("count", "bridges"), [(0, 0), (12, 0), (13, 1), (31, 1), (32, 2), (62, 2), (63, 3)])
def test_many_nics_sit_on_bridges_of_31(count: int, bridges: int) -> None:
    nics = tuple(Interface(f"t{number}", f"00:15:17:00:00:{number:02x}") for number in range(count))
    devices = after(cmdline.argv(replace(PLAIN, nics=nics)), "-device")
    assert len([device for device in devices if device.startswith("pci-bridge")]) == bridges
    places = [device.partition(",bus=")[2] for device in devices if device.startswith("e1000")]
    assert len(set(places)) == len(places) if bridges else set(places) <= {""}


@pytest.mark.parametrize(("count", "controllers"), [(0, 0), (30, 1), (31, 2), (61, 3)])
def test_thirty_ports_to_a_virtio_serial_controller(count: int, controllers: int) -> None:
    ports = tuple(GuestPort(f"p{number}", HOME / f"virtio-serial{number}") for number in range(count))
    devices = after(cmdline.argv(replace(PLAIN, ports=ports)), "-device")
    assert len([device for device in devices if device.startswith("virtio-serial-pci")]) == controllers
    assert max((device.count("nr=31") for device in devices), default=0) == 0


def test_a_fourth_ide_disk_is_refused_with_the_limit() -> None:
    disks = tuple(Disk(f"/f/{number}", "raw") for number in range(4))
    with pytest.raises(InvalidInput, match="limit is 3") as refused:
        cmdline.argv(replace(PLAIN, disks=disks))
    assert "virtio" in refused.value.hint


def test_ahci_controllers_hold_six_disks() -> None:
    disks = tuple(Disk(f"/f/{number}", "raw", "ahci") for number in range(7))
    devices = after(cmdline.argv(replace(PLAIN, disks=disks)), "-device")
    assert [device for device in devices if device.startswith("ahci")] == ["ahci,id=ahci0", "ahci,id=ahci1"]


PLAIN_WORDS = st.lists(st.text("abc-=,/", min_size=1, max_size=6), max_size=8)


@given(PLAIN_WORDS)
def test_no_overrides_change_nothing(words: list[str]) -> None:
    assert cmdline.overridden(words, ()) == words


@given(PLAIN_WORDS, st.text("abc", min_size=1, max_size=2))
def test_a_replaced_word_is_gone(words: list[str], sought: str) -> None:
    assert not any(sought in word for word in cmdline.overridden(words, [(sought, "X")]))


@given(st.text("ab ,'\"", max_size=8))
def test_other_words_keep_their_spaces_and_quotes(word: str) -> None:
    assert cmdline.overridden([word, "zz"], [("zz", "y")])[0] == word


def test_override_of_several_words_replaces_the_run() -> None:
    words = ["-vga", "std", "-name", "std"]
    assert cmdline.overridden(words, [("-vga std", "-vga 'qxl x'")]) == ["-vga", "qxl x", "-name", "std"]
