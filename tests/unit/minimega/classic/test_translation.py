"""The classic words become the modern lines of the specification (A.0, A.3), or say what is wrong with them."""

from __future__ import annotations

import pytest

from megatools.minimega.commands.classic.later import CLASSIC, MODERN
from tests.unit.minimega.classic.modern import Modern

LINES = [
    ("vm_memory 1500", "vm config memory 1500"),
    ("vm_memory", "vm config memory"),
    ("vm_vcpus 2", "vm config vcpus 2"),
    ("vm_disk a.qc2 b.qc2", "vm config disks a.qc2 b.qc2"),
    ("vm_disk", "vm config disks"),
    ("vm_cdrom 'my disc.iso'", "vm config cdrom 'my disc.iso'"),
    ("vm_kernel /path/to/example.kernel", "vm config kernel /path/to/example.kernel"),
    ("vm_initrd /path/to/example.initrd", "vm config initrd /path/to/example.initrd"),
    ('vm_append "a b"', "vm config append a b"),
    ("vm_append a  b=c", "vm config append a b=c"),
    ("vm_append 'a \"b c\"'", 'vm config append a "b c"'),
    ('vm_append x="a b" y', 'vm config append x="a b" y'),
    ('.annotate false vm_append "a b"', "vm config append a b"),
    ("vm_append", "vm config append"),
    ("vm_qemu kvm", "vm config qemu kvm"),
    ("vm_qemu_append -cpu host", "vm config qemu-append -cpu host"),
    ("vm_qemu_override", "vm config qemu-override"),
    ('vm_qemu_override add "-vga std" "-vga none"', "vm config qemu-override '-vga std' '-vga none'"),
    ("vm_snapshot TRUE", "vm config snapshot true"),
    ("vm_snapshot", "vm config snapshot"),
    ("vm_uuid x", "vm config uuid x"),
    ("vm_net 1", "vm config networks 1"),
    ("vm_net b,1,00:11:22:33:44:55 5", "vm config networks b,1,00:11:22:33:44:55 5"),
    ("vm_config save one", "vm config save one"),
    ("vm_config restore one", "vm config restore one"),
    ("vm_config clone 3", "vm config clone 3"),
    ("vm_config show", "vm config restore"),
    ("clear vm_config", "clear vm config"),
    ("clear vm_net", "clear vm config networks"),
    ("clear vm_qemu_override", "clear vm config qemu-override"),
    ("vm_launch 2", "vm launch kvm 2"),
    ("vm_launch web", "vm launch kvm web"),
    ("vm_launch 2 noblock", "vm launch kvm 2"),
    ("vm_start", "vm start all"),
    ("vm_start 1", "vm start 1"),
    ("vm_stop", "vm stop all"),
    ("vm_stop web", "vm stop web"),
    ("vm_kill -1", "vm kill all"),
    ("vm_kill 0", "vm kill 0"),
    ("vm_flush", "vm flush"),
    ("host_tap 1 10.0.0.1/24", "tap create 1 ip 10.0.0.1/24"),
    ("host_tap 1 dhcp", "tap create 1 dhcp"),
    ("host_tap create 1 10.0.0.1/24", "tap create 1 ip 10.0.0.1/24"),
    ("host_tap create 1 none", "tap create 1"),
    ("host_tap create 1 none mytap", "tap create 1 name mytap"),
    ("host_tap create 1 dhcp mytap", "tap create 1 dhcp mytap"),
    ("host_tap create br0 1 10.0.0.1/24", "tap create 1 bridge br0 ip 10.0.0.1/24"),
    ("host_tap create br0 1 10.0.0.1/24 mytap", "tap create 1 bridge br0 ip 10.0.0.1/24 mytap"),
    ("host_tap delete mega_tap0", "tap delete mega_tap0"),
    ("host_tap delete -1", "tap delete all"),
    ("clear host_tap", "tap delete all"),
    ("dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254", "dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254"),
    ("dnsmasq kill -1", "dnsmasq kill all"),
    ("dhcp start 10.0.0.1 10.0.0.2 10.0.0.254", "dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254"),
    ("dhcp start a b c file", "dnsmasq start a b c file"),
    ("dhcp kill -1", "dnsmasq kill all"),
    ("dhcp", "dnsmasq"),
    ("log_level debug", "log level debug"),
    ("log_stderr false", "log stderr false"),
    ("log_file /x", "log file /x"),
    ("log_file false", "clear log file"),
]


@pytest.mark.parametrize(("classic", "modern"), LINES)
def test_classic_lines_become_modern_ones(classic, modern):
    machine = Modern()
    assert machine.errors(classic) == []
    assert machine.lines == [modern]


@pytest.mark.parametrize("line", ["vm_launch 0", "vm_launch -3", "rate 100", "clear rate"])
def test_lines_that_do_nothing(line):
    machine = Modern()
    assert machine.errors(line) == []
    assert machine.lines == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("vm_snapshot maybe", "usage: vm_snapshot [true,false]"),
        ("host_tap create 1", "malformed command"),
        ("host_tap create a 1 b c d", "malformed command"),
        ("rate fast", 'invalid rate "fast"'),
        ("vm_qemu_override del 3", 'not available yet: "vm_qemu_override del 3"'),
        ("vm_info a=b=c", "malformed search term"),
        ("vm_info color=red", "invalid search term: color"),
        ("vm_info [id,color]", "invalid output mask: color"),
        ("vm_info id=x", "invalid ID: x"),
        ("vm_info state=asleep", "invalid state: asleep"),
        ("vm_info id=1 [id] more", "too many arguments"),
        ("vm_info id=1 name=2", "malformed command"),
        ("vm_info output=xml", "malformed command"),
        ("vm_mem 3", "invalid command: `vm_mem 3`"),
        ("VM_MEMORY 3", "invalid command: `VM_MEMORY 3`"),
    ],
)
def test_mistakes(line, message):
    machine = Modern()
    (error,) = machine.errors(line)
    assert error.split("\n")[0] == message
    assert machine.lines == []


@pytest.mark.parametrize("name", [*CLASSIC, *MODERN])
@pytest.mark.parametrize("rest", ["", " a b"])
def test_words_of_later_versions_are_known(name, rest):
    (error,) = Modern().errors(name + rest)
    assert error == f'not available yet: "{name}"'


def test_answers_carry_no_host():
    machine = Modern()
    machine.texts["vm config memory"] = "2048"
    assert machine.text("vm_memory") == "2048"
    assert machine.text("vm config memory") == "kn1: 2048"


def test_the_kernel_line_is_shown_as_words():
    machine = Modern()
    machine.texts["vm config append"] = "[quiet root=/dev/sda]"
    assert machine.text("vm_append") == "quiet root=/dev/sda"
    assert "Kernel Append: quiet root=/dev/sda" in machine.text("vm_config")


def test_the_line_typed_is_what_history_holds():
    machine = Modern()
    machine.text("vm_net 1")
    assert machine.interpreter.history.lines() == ("vm_net 1",)


def test_host_stats():
    machine = Modern(
        {"host": (["load", "memused", "memtotal", "rx", "tx"], [["0.1 0.2 0.3", "512", "2048", "1.0", "0.5"]])}
    )
    assert machine.text("host_stats") == (
        "hostname:\tkn1\tload average:\t0.1 0.2 0.3\tmemtotal:\t2048 MB\tmemused:\t512 MB\tbandwidth:\t1.5 (MB/s)"
    )
    assert machine.text("host_stats quiet") == "kn1 0.1 0.2 0.3 2048 512 1.5"
