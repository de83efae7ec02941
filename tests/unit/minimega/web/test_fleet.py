"""Finding a VM by the words of an address."""

import pytest

from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.minimega.lang.answer import Table
from megatools.minimega.web.fleet import find_row, rows_of

ROWS = rows_of(
    Table(
        ("host", "namespace", "id", "name", "uuid"),
        (
            ("kn1", "a", "0", "web", "u0"),
            ("kn1", "a", "1", "0", "u1"),
            ("kn1", "b", "0", "web", "u2"),
            ("kn1", "b", "3", "db", "u3"),
            ("kn1", "c", "4", "twin", "u4"),
            ("kn2", "c", "4", "twin", "u5"),
        ),
    )
)


@pytest.mark.parametrize(
    ("vm", "namespace", "uuid"),
    [
        ("web", "a", "u0"),
        ("web", "b", "u2"),
        ("db", None, "u3"),
        ("u2", None, "u2"),
        ("3", None, "u3"),
        ("0", "b", "u2"),
    ],
)
def test_by_name_uuid_or_id(vm: str, namespace: str | None, uuid: str) -> None:
    assert find_row(ROWS, vm, namespace)["uuid"] == uuid


def test_a_name_wins_over_an_id() -> None:
    assert find_row(ROWS, "0", "a")["uuid"] == "u1"


def test_a_name_in_several_namespaces_must_be_told_apart() -> None:
    with pytest.raises(InvalidInput, match='"web"') as caught:
        find_row(ROWS, "web")
    assert "a, b" in caught.value.hint


@pytest.mark.parametrize(("vm", "namespace"), [("nope", None), ("db", "a"), ("web", "d"), ("", None)])
def test_an_unknown_vm_is_not_found(vm: str, namespace: str | None) -> None:
    with pytest.raises(NotFound, match=f'"{vm}"'):
        find_row(ROWS, vm, namespace)


@pytest.mark.parametrize("vm", ["twin", "4"])
def test_of_twins_the_near_one_is_meant(vm: str) -> None:
    assert find_row(ROWS, vm, "c", "kn2")["uuid"] == "u5"
    with pytest.raises(InvalidInput, match="kn1, kn2"):
        find_row(ROWS, vm, "c", "kn3")
    assert find_row(ROWS, "u4", "c", "kn2")["host"] == "kn1"
