"""Contexts and clusters look for each other in different places, and tell nobody their names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.mesh.scouting import Scouting, key_prefix, scouting, with_port


def test_groups_and_keys_differ_and_hide_the_names():
    meshes = [("minimega", ""), ("other", ""), ("minimega", "c1"), ("", "minimega")]
    groups = [scouting("", 9000, *mesh).group for mesh in meshes]
    assert len(set(groups)) == len({key_prefix(*mesh) for mesh in meshes}) == len(meshes)
    assert all(group.startswith("239.19") and group.endswith(":9000") for group in groups)
    assert "minimega" not in key_prefix("minimega", "")
    assert scouting("255.255.255.255", 9000, "minimega", "") == scouting("", 9000, "minimega", "")


@pytest.mark.parametrize(
    ("broadcast", "wanted"),
    [
        ("239.1.2.3", Scouting("239.1.2.3:9000")),
        ("ff05::9", Scouting("[ff05::9]:9000")),
        ("10.0.0.1, kn2:9100", Scouting("", ("10.0.0.1:9000", "kn2:9100"))),
        ("fd00::1", Scouting("", ("[fd00::1]:9000",))),
    ],
)
def test_what_broadcast_may_say(broadcast, wanted):
    assert scouting(broadcast, 9000, "minimega", "") == wanted


@pytest.mark.parametrize("address", ["", "a/b", "kn1:x", "kn1:0", "kn1:65536", "kn 1"])
def test_what_is_no_address(address):
    with pytest.raises(InvalidInput):
        with_port(address, 9000)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_any_address_with_and_without_port(address, port):
    full = with_port(str(address), port)
    assert with_port(full, 9000) == full
