"""File capabilities in words, and the first program of an initrd that sets them."""

import io
import struct
import tarfile
from pathlib import Path

import pytest

from megatools.vmbetter.targets import attributes
from megatools.vmbetter.targets.attributes import Attributes

NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (NET_RAW, "cap_net_raw=ep"),
        (struct.pack("<5I", 0x02000000, 1 << 13, 0, 0, 0), "cap_net_raw=p"),
        (struct.pack("<5I", 0x02000001, 1 << 7, 1 << 7, 1 << 8, 0), "cap_setuid=epi cap_checkpoint_restore=ep"),
        (struct.pack("<5I", 0x02000000, 0b11, 0b100, 0, 0), "cap_chown,cap_dac_override=p cap_dac_read_search=i"),
        (struct.pack("<3I", 0x01000001, 1 << 12, 0), "cap_net_admin=ep"),
    ],
)
def test_capabilities_are_said_as_setcap_takes_them(data: bytes, text: str) -> None:
    assert attributes.capability_text(data) == text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1\0\0",
        NET_RAW[:-4],
        struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 1000),  # for the root of one user namespace
        struct.pack("<5I", 0x02000001, 0, 0, 1 << 31, 0),  # a capability that is not known
    ],
)
def test_what_cannot_be_said_is_not(data: bytes) -> None:
    assert attributes.capability_text(data) == ""


def archive(path: Path, **attributes_of: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as made:
        for name, held in attributes_of.items():
            info = tarfile.TarInfo(f"./{name.replace('_', '/')}")
            info.pax_headers = {
                f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in held.items()
            }
            made.addfile(info, io.BytesIO())
    return path


def test_a_layer_replaces_what_was_below(tmp_path: Path) -> None:
    high = struct.pack("<5I", 0x02000001, 1 << 7, 0, 0, 0)  # no UTF-8
    base = archive(
        tmp_path / "base.tar",
        bin_ping={"security.capability": NET_RAW},
        bin_su={"security.capability": high},
        var_log_journal={"system.posix_acl_access": b"\2\0\0\0"},
        left={"user.note": b"x"},
    )
    found = attributes.found(base, lambda name: name != "left")
    assert found == Attributes({"bin/ping": "cap_net_raw=ep", "bin/su": "cap_setuid=ep"})
    over = attributes.found(archive(tmp_path / "over.tar", bin_ping={"user.note": b"x"}), lambda name: True)
    assert found.under(over, {"bin/ping"}) == Attributes({"bin/su": "cap_setuid=ep"}, {"bin/ping": "user.note"})


def test_init_sets_them_with_the_trees_setcap() -> None:
    warnings: list[str] = []
    program = attributes.init_program({"a b": "cap_kill=ep"}, {"sbin/setcap", "a b"}, warnings)
    assert program.decode().splitlines()[2:] == ["/sbin/setcap -q cap_kill=ep '/a b'", 'exec /sbin/init "$@"']
    assert attributes.init_program({}, {"sbin/setcap"}, warnings) == b""
    assert not warnings


@pytest.mark.parametrize(("names", "why"), [({"x"}, "libcap2-bin"), ({"x", "init", "sbin/setcap"}, "its /init")])
def test_it_is_told_when_they_cannot_be_set(names: set[str], why: str) -> None:
    warnings: list[str] = []
    assert attributes.init_program({"x": "cap_kill=ep"}, names, warnings) == b""
    (warning,) = warnings
    assert '"/x" (cap_kill=ep)' in warning
    assert why in warning
