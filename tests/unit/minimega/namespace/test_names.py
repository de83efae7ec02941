"""Which names are taken, refused or made up."""

from __future__ import annotations

import pytest

from megatools.hostkit.errors import AlreadyExists, InvalidInput
from megatools.minimega.namespace.names import check_name, fresh_names, launch_count, launch_names


@pytest.mark.parametrize("name", ["web", "web-1", "a.b_c", "Z9"])
def test_good_names_pass(name: str) -> None:
    check_name(name, "vm")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a b", "invalid name; must only include letters, numbers, hyphens and underscores: `a b`"),
        ("../x", "invalid name; must only include"),
        ("..", "invalid name; must only include"),
        ("", "invalid name; must only include"),
        ("0", "invalid vm name, `0` is an integer"),
        ("all", "invalid vm name, `all` is a reserved word"),
        ("x" * 65, "longer than 64"),
    ],
)
def test_bad_names_say_why(name: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(name, "vm")
    assert text in caught.value.message


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("+3", 3), ("10000", 10000)])
def test_counts(text: str, count: int) -> None:
    assert launch_count(text) == count


@pytest.mark.parametrize("text", ["0", "-1", "10001"])
def test_counts_out_of_range(text: str) -> None:
    with pytest.raises(InvalidInput):
        launch_count(text)


def test_ranges_expand_in_order() -> None:
    assert list(launch_names("web[1-3],db", taken=())) == ["web1", "web2", "web3", "db"]


def test_doubled_and_taken_names_are_refused() -> None:
    with pytest.raises(InvalidInput, match="`a` is specified twice in VMs to launch"):
        launch_names("a,a", taken=())
    with pytest.raises(AlreadyExists, match="vm already exists with name `b`"):
        launch_names("a,b", taken={"b"})


def test_unnamed_vms_skip_names_in_use() -> None:
    assert fresh_names(3, 5, {"vm-6"}) == (["vm-5", "vm-7", "vm-8"], 9)
