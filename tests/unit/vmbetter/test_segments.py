"""When a layer may be unpacked over the packages' tree by the kernel, and when all must be packed anew."""

from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter.targets import compressor, initrd
from megatools.vmbetter.tree import Layer, Member


def member(name: str, kind: str = "file", size: int = 1, target: str = "") -> Member:
    return Member(name, kind, 0o644, 0, 0, 1, size, target)


BASE = [
    member("d", "folder", 0),
    member("f"),
    member("l", "link", 0, "f"),
    member("one"),
    member("two", "again", 0, "one"),
    member("null", "device", 0),
    member("big", size=1000),
]
LAYER = Layer(Path("unused"))


@pytest.mark.parametrize(
    "newer",
    [
        [member("new"), member("d", "folder", 0)],
        [member("f")],
        [member("l")],
        [member("f", "link", 0, "d")],
    ],
)
def test_what_adds_or_replaces_plain_things_is_exact(newer: list[Member]) -> None:
    assert initrd.layers_exactly(BASE, newer, LAYER)


@pytest.mark.parametrize(
    "newer",
    [
        [member("d")],
        [member("f", "folder", 0)],
        [member("one")],
        [member("two")],
        [member("null")],
        [member("big")],
    ],
)
def test_what_the_kernel_would_do_otherwise_or_twice_is_not(newer: list[Member]) -> None:
    assert not initrd.layers_exactly(BASE, newer, LAYER)


def test_a_layer_that_removes_something_is_not_exact() -> None:
    assert not initrd.layers_exactly(BASE, [], Layer(Path("unused"), gone=("f",)))
    assert not initrd.layers_exactly(BASE, [], Layer(Path("unused"), opaque=("d",)))
    assert initrd.layers_exactly(BASE, [], None)


def test_compressions_are_read_and_refused() -> None:
    assert compressor.parse("") == compressor.Compressor("zstd", -1)
    assert compressor.parse("xz:2") == compressor.Compressor("xz", 2, named=True)
    with pytest.raises(InvalidInput, match='"brotli" is unknown'):
        compressor.parse("brotli")
    with pytest.raises(InvalidInput, match='level "20" of zstd is not between 1 and 19'):
        compressor.parse("zstd:20")


def test_a_kernel_that_cannot_unpack_zstd_gets_gzip_unless_zstd_was_named() -> None:
    warnings: list[str] = []
    usual, named = compressor.parse(""), compressor.parse("zstd:3")
    able, other = "CONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n", "CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n"
    assert usual.fitting("6.1", able, warnings) == usual
    assert usual.fitting("6.1", "", warnings) == usual, "nobody knows"
    assert compressor.parse("none").fitting("6.1", other, warnings).method == "none"
    assert warnings == []
    assert usual.fitting("6.1", other, warnings) == compressor.Compressor("gzip")
    assert warnings == ['kernel "6.1" does not unpack zstd (CONFIG_RD_ZSTD is off): gzip is used']
    assert named.fitting("6.1", other, warnings) == named
    assert warnings[1].endswith("it will not boot this initrd")
