"""Targets, MACs, screens, command lines found in /proc, progress counters."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput, ProtocolError, Unavailable, chain_text
from megatools.minimega.vm.backend import Site
from megatools.minimega.vm.backends.kvm.backend import _refused
from megatools.minimega.vm.backends.kvm.find import launched_as
from megatools.minimega.vm.backends.kvm.progress import exits_in
from megatools.minimega.vm.backends.kvm.spec import append_text, port_names
from megatools.minimega.vm.macs import VENDOR_PREFIXES, new_mac
from megatools.minimega.vm.netspec import normal_mac
from megatools.minimega.vm.plan import VmPlan
from megatools.minimega.vm.screens import picture_of_ppm, png_of_ppm, shrunk
from megatools.minimega.vm.targets import select


@dataclass(frozen=True)
class Vm:
    id: int
    name: str
    uuid: str


VMS = [Vm(0, "web1", "u0"), Vm(1, "web2", "u1"), Vm(5, "db", "u5")]


@pytest.mark.parametrize(
    ("target", "ids", "unmatched", "wild"),
    [
        ("web1", [0], (), False),
        ("5", [5], (), False),
        ("u1", [1], (), False),
        ("db,web[1-2]", [5, 0, 1], (), False),
        ("0,web1,u0", [0], (), False),
        ("web[1-4]", [0, 1], ("web3", "web4"), False),
        ("7", [], ("7",), False),
        ("all", [0, 1, 5], (), True),
        ("nosuch,all", [0, 1, 5], (), True),
    ],
)
def test_targets(target: str, ids: list[int], unmatched: tuple[str, ...], wild: bool) -> None:
    found = select(target, VMS)
    assert ([vm.id for vm in found.matched], found.unmatched, found.wild) == (ids, unmatched, wild)


@pytest.mark.parametrize("target", ["", "  ", "web[1-", "a,,b"])
def test_malformed_targets_are_refused(target: str) -> None:
    with pytest.raises(InvalidInput):
        select(target, VMS)


def test_an_integer_name_is_always_an_id() -> None:
    assert select("1", [Vm(0, "1", "u"), Vm(1, "x", "v")]).matched[0].name == "x"


def test_macs_are_fresh_and_look_real() -> None:
    source = random.Random(1)
    first = new_mac((), source)
    source.seed(1)
    second = new_mac({first}, source)
    assert first != second
    assert all(mac[:8] in VENDOR_PREFIXES and normal_mac(mac) == mac for mac in (first, second))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 50), st.randoms(use_true_random=False))
def test_screens_shrink_and_keep_their_pixels(width: int, height: int, most: int, source: random.Random) -> None:
    rgb = source.randbytes(width * height * 3)
    picture = picture_of_ppm(b"P6\n%d %d\n255\n" % (width, height) + rgb)
    assert picture.rgb() == rgb
    small = shrunk(picture, most)
    assert max(small.width, small.height) == (min(most, max(width, height)) if most else max(width, height))
    assert len(small.pixels) == small.width * small.height * 4
    assert png_of_ppm(b"P6 %d %d 255\n" % (width, height) + rgb, most).startswith(b"\x89PNG")


@pytest.mark.parametrize("content", [b"", b"P5\n1 1\n255\n\0\0\0", b"P6\n2 1\n255\n\0\0\0"])
def test_broken_screens_are_protocol_errors(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        picture_of_ppm(content)


def test_a_qemu_is_known_by_its_uuid_and_pidfile_words() -> None:
    line = b"qemu\0-name\0x -uuid y\0-uuid\0U\0-S\0-pidfile\0/b/1/qemu.pid\0"
    assert launched_as(line) == ("U", "/b/1/qemu.pid")
    assert launched_as(b"grep\0-uuid\0U\0") is None
    assert launched_as(b"") is None


def test_exits_are_summed_over_vcpus() -> None:
    stats = [{"provider": "kvm", "stats": [{"name": "exits", "value": 3}]}, {"stats": [{"name": "exits", "value": 4}]}]
    assert exits_in(stats) == 7
    assert exits_in([]) is None
    assert exits_in({"x": 1}) is None


def test_kernel_words_with_spaces_are_quoted() -> None:
    assert append_text(["a=b", "c d"]) == 'a=b "c d"'


def test_virtio_ports_are_a_count_or_names() -> None:
    assert port_names("2") == ["virtio-serial0", "virtio-serial1"]
    assert port_names("a,b") == ["a", "b"]
    assert port_names("") == []


def test_a_qemu_that_had_no_room_for_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(VmPlan("u", "vm", "minimega"), 1, tmp_path, ())
    (tmp_path / "qemu.log").touch()
    assert chain_text(_refused(site, 1, ProtocolError("it hung up"))) == "QEMU did not start (status 1): it hung up"
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4096))
    full = _refused(site, 1, ProtocolError("it hung up"))
    assert isinstance(full, Unavailable)
    assert chain_text(full) == f'QEMU did not start: no space left for its files in "{tmp_path}"'
