"""The table of configuration fields: setting, showing, clearing, saving."""

import msgspec
import pytest

from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.hostkit.qemu.probe import QemuFacts
from megatools.minimega.lang.lexer import lex
from megatools.minimega.vm.config import NicSpec, VmConfig
from megatools.minimega.vm.fields import BY_NAME, FIELDS, clear_field, config_lines, set_field, show_config, show_field

SAMPLES: dict[str, tuple[list[str], str]] = {
    "uuid": (["11111111222233334444555555555555"], "11111111-2222-3333-4444-555555555555"),
    "vcpus": (["4"], "4"),
    "memory": (["512"], "512"),
    "snapshot": (["False"], "false"),
    "schedule": (["h1"], "h1"),
    "colocate": (["vm1"], "vm1"),
    "coschedule": (["0"], "0"),
    "backchannel": (["0"], "false"),
    "networks": (["LAN", "br0,100,virtio-net-pci"], "[LAN br0,100,virtio-net-pci]"),
    "tags": (["k", "a b"], "k -> a b"),
    "qemu": (["/bin/q"], "/bin/q"),
    "kernel": (["/k"], "/k"),
    "initrd": (["/i"], "/i"),
    "cdrom": (["/c d"], "/c d"),
    "state": (["/s"], "/s"),
    "cpu": (["qemu64,+avx"], "qemu64,+avx"),
    "machine": (["q35"], "q35"),
    "sockets": (["2"], "2"),
    "cores": (["2"], "2"),
    "threads": (["2"], "2"),
    "serial-ports": (["2"], "2"),
    "virtio-ports": (["a,b"], "a,b"),
    "vga": (["none"], "none"),
    "append": (["console=ttyS0", "x y"], "[console=ttyS0 x y]"),
    "disks": (["/a", "/b,virtio,none"], "[/a /b,virtio,none]"),
    "usb-use-xhci": (["f"], "false"),
    "tpm-socket": (["/t"], "/t"),
    "bidirectional-copy-paste": (["true"], "true"),
    "qemu-append": (["-boot", "menu=on"], "[-boot menu=on]"),
    "qemu-override": (["-vga std", ""], "-vga std -> "),
}


def test_every_field_of_a_configuration_has_a_row_and_a_sample() -> None:
    assert {field.attribute for field in FIELDS} == {field.name for field in msgspec.structs.fields(VmConfig)}
    assert {field.name for field in FIELDS} == set(SAMPLES)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_set_show_clear(name: str) -> None:
    words, shown = SAMPLES[name]
    config = set_field(VmConfig(), name, words)
    assert show_field(config, name) == shown
    assert config != VmConfig()
    assert clear_field(config, name) == VmConfig()


def sample() -> VmConfig:
    config = VmConfig()
    for name, (words, _) in SAMPLES.items():
        if name != "colocate":  # excludes schedule
            config = set_field(config, name, words)
    return config


def test_saved_lines_make_the_same_configuration() -> None:
    config = VmConfig()
    for line in config_lines(sample()):
        first, second, name, *words = lex(line)
        assert (first, second) == ("vm", "config")
        config = set_field(config, name, words)
    assert config == sample()


def test_paths_with_spaces_come_back_whole() -> None:
    config = set_field(VmConfig(), "disks", ["/my disks/a.qcow2", "/b.qcow2,virtio"])
    (line,) = config_lines(config)
    assert set_field(VmConfig(), "disks", lex(line)[3:]) == config


def test_the_configuration_survives_the_journal() -> None:
    assert msgspec.json.decode(msgspec.json.encode(sample()), type=VmConfig) == sample()
    assert msgspec.json.encode(VmConfig()) == b"{}"


def test_blocks_show_every_label_once() -> None:
    shown = show_config(VmConfig())
    assert shown.startswith("VM configuration:\n") and "\n\nKVM configuration:\n" in shown
    assert len([line for line in shown.splitlines() if line]) == len(FIELDS) + 2


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("memory", ["foo"], 'strconv.ParseUint: parsing "foo": invalid syntax'),
        ("memory", ["0"], "out of range"),
        ("memory", ["1", "2"], "one value is needed"),
        ("vcpus", ["-1"], "out of range"),
        ("snapshot", ["maybe"], 'strconv.ParseBool: parsing "maybe": invalid syntax'),
        ("uuid", ["x"], 'invalid UUID: "x"'),
        ("cpu", ["nope"], "invalid QEMU CPU: `nope`, see help"),
        ("machine", ["nope"], "invalid QEMU machine: `nope`, see help"),
        ("vga", ["nope"], 'invalid vga "nope"'),
        ("virtio-ports", ["a,a"], "not distinct"),
        ("virtio-ports", ["121"], "limit of 120"),
        ("serial-ports", ["9"], "out of range"),
        ("qemu-override", ["-x '", "y"], "no closing quotation"),
        ("networks", ["LAN", "a,b,c"], "malformed netspec"),
    ],
)
def test_bad_values_say_what_and_how(name: str, words: list[str], message: str) -> None:
    facts = QemuFacts("7.2", cpus=frozenset({"qemu64"}), machines=frozenset({"pc"}))
    with pytest.raises(InvalidInput) as refused:
        set_field(VmConfig(), name, words, facts)
    assert message in refused.value.message
    assert refused.value.hint


def test_schedule_and_colocate_exclude_each_other() -> None:
    with pytest.raises(InvalidInput, match="cannot specify schedule and colocate in the same config"):
        set_field(VmConfig(colocate="a"), "schedule", ["h"])


def test_one_tag_can_be_cleared() -> None:
    config = VmConfig(tags={"a": "1", "b": "2"})
    assert clear_field(config, "tags", "a").tags == {"b": "2"}
    assert clear_field(config, "tags", "all").tags == {}


def test_old_names_still_work() -> None:
    assert set_field(VmConfig(), "net", ["1"]).networks == (NicSpec("1"),)
    assert BY_NAME["migrate"].attribute == "state"
    with pytest.raises(NotFound, match='no vm config field "x"'):
        set_field(VmConfig(), "x", ["1"])
