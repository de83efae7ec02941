"""The boot files of a reservation: the exact layout of 2013, and those of GRUB and iPXE."""

from __future__ import annotations

import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.igor.boot import grub
from megatools.igor.boot.layout import files_for
from megatools.igor.model import nodes
from megatools.igor.model.config import BootConfig, Config
from megatools.igor.model.host import BootMode, Host
from megatools.igor.model.image import ContentHash, LinkTo
from megatools.igor.model.reservation import Details, Kind, Reservation, ReservationId, State

CONFIG = Config(tftproot="/tftpboot", prefix="kn", start=1, end=520, rackwidth=8, rackheight=5)
KERNEL, INITRD = ContentHash("a" * 64), ContentHash("b" * 64)
KN1 = Host(1, "kn1", ip="192.0.2.91")
KN2 = Host(2, "kn2", mac="52:54:00:AB:00:02", ip="192.0.2.92")
KN3 = Host(3, "kn3", mac="52:54:00:ab:00:03", boot=BootMode.UEFI)
KN4 = Host(4, "kn4", mac="52:54:00:ab:00:04", boot=BootMode.HTTP)


def reservation(args: str = "", **changes: object) -> Reservation:
    made = Reservation(
        ReservationId(1), "testing", "alice", "", nodes.of([1]), 0, 100, State.ACTIVE, kernel=KERNEL, initrd=INITRD,
        details=Details(args=args),
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def test_the_files_of_2013_byte_for_byte() -> None:
    text = b"default testing\n\nlabel testing\nkernel /igor/testing-kernel\nappend initrd=/igor/testing-initrd\n"
    assert files_for(reservation(), [KN1], CONFIG) == {
        "igor/testing-kernel": LinkTo("igor/images/" + KERNEL),
        "igor/testing-initrd": LinkTo("igor/images/" + INITRD),
        "pxelinux.cfg/igor/testing": text,
        "pxelinux.cfg/C000025B": text,
    }


def test_a_known_mac_names_the_file_and_arguments_are_appended() -> None:
    files = files_for(reservation("console=ttyS0 quiet"), [KN1, KN2], CONFIG)
    assert "pxelinux.cfg/C000025C" not in files
    text = files["pxelinux.cfg/01-52-54-00-ab-00-02"]
    assert text == files["pxelinux.cfg/C000025B"]
    assert isinstance(text, bytes)
    assert text.endswith(b"\nappend initrd=/igor/testing-initrd console=ttyS0 quiet\n")


def test_each_node_has_one_file_of_the_kind_it_boots_by() -> None:
    files = files_for(reservation("a=1"), [KN2, KN3, KN4], CONFIG)
    of_nodes = {path for path in files if "01-52" in path}
    assert of_nodes == {
        "pxelinux.cfg/01-52-54-00-ab-00-02",
        "grub/grub.cfg-01-52-54-00-ab-00-03",
        "igor/ipxe/01-52-54-00-ab-00-04.ipxe",
    }
    assert b"linux /igor/testing-kernel a=1\n    initrd /igor/testing-initrd\n" in bytes(
        files["grub/grub.cfg-01-52-54-00-ab-00-03"]  # type: ignore[arg-type]
    )
    assert files["igor/ipxe/01-52-54-00-ab-00-04.ipxe"] == (
        b"#!ipxe\necho igor: testing\nkernel /igor/testing-kernel initrd=initrd a=1\n"
        b"initrd --name initrd /igor/testing-initrd\nboot\n"
    )


def test_http_nodes_may_fetch_from_elsewhere() -> None:
    config = msgspec.structs.replace(CONFIG, boot=BootConfig(http_url="http://10.0.0.1:8080/"))
    script = files_for(reservation(), [KN4], config)["igor/ipxe/01-52-54-00-ab-00-04.ipxe"]
    assert isinstance(script, bytes)
    assert b"kernel http://10.0.0.1:8080/igor/testing-kernel " in script


def test_maintenance_boots_nothing() -> None:
    assert files_for(reservation(kind=Kind.MAINTENANCE), [KN1], CONFIG) == {}
    assert files_for(reservation(kernel=ContentHash("")), [KN1], CONFIG) == {}


def test_a_kernel_may_come_without_an_initrd() -> None:
    files = files_for(reservation(initrd=ContentHash("")), [KN1, KN3, KN4], CONFIG)
    assert not [path for path in files if path.endswith("-initrd")]
    assert not [text for text in files.values() if isinstance(text, bytes) and b"initrd" in text]


@pytest.mark.parametrize(
    ("made", "host", "config"),
    [
        (reservation(), Host(9, "kn9"), CONFIG),
        (reservation(), Host(9, "kn9", ip="fd00::1"), CONFIG),
        (reservation(name="../etc"), KN1, CONFIG),
        (reservation("quiet\nkernel /evil"), KN1, CONFIG),
        (reservation("a=${net0/mac}"), KN4, CONFIG),
        (reservation(), KN3, msgspec.structs.replace(CONFIG, boot=BootConfig(layouts=("pxelinux",)))),
    ],
)
def test_what_cannot_be_written_is_refused(made: Reservation, host: Host, config: Config) -> None:
    with pytest.raises(InvalidInput):
        files_for(made, [host], config)


@given(st.text(alphabet=string.ascii_letters + string.digits + string.punctuation + " ", max_size=60))
def test_arguments_add_no_line_to_any_file(args: str) -> None:
    plain = files_for(reservation("x"), [KN2, KN3], CONFIG)
    files = files_for(reservation(args), [KN2, KN3], CONFIG)
    for path, text in files.items():
        if isinstance(text, bytes):
            before = plain[path]
            assert isinstance(before, bytes)
            assert text.count(b"\n") == before.count(b"\n")


def test_grub_keeps_quoted_arguments_together() -> None:
    line = grub.text("r", 'dyndbg="file a +p" quiet').splitlines()[3]
    assert line.strip() == "linux /igor/r-kernel 'dyndbg=file a +p' quiet"


@given(st.text(alphabet=string.printable.strip().replace('"', ""), min_size=1))
def test_grub_reads_each_argument_as_it_was_written(word: str) -> None:
    """GRUB's quoting is the shell's: unquote the way a shell does."""
    import shlex

    line = next(line for line in grub.text("r", word).splitlines() if "linux" in line)
    assert shlex.split(line) == ["linux", "/igor/r-kernel", word] if "'" in line else line.endswith(f" {word}")
