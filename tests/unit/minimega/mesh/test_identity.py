"""Identities in certificates: round trips, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import Corrupt, InvalidInput
from megatools.minimega.mesh.identity import Identity, check_name, common_name, is_common_name_of, read_uri
from megatools.minimega.mesh.mesh import Caller, Role

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
identities = st.builds(
    Identity,
    cluster=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    name=names,
    role=st.sampled_from(Role),
    namespace=st.text(max_size=20),
)


@given(identity=identities)
def test_the_uri_holds_everything(identity: Identity) -> None:
    assert identity.uri.isascii()
    assert read_uri(identity.uri) == identity


@given(name=names, other=names, serial=st.from_regex(r"[0-9a-f]{1,40}", fullmatch=True))
def test_common_names_are_short_and_name_one_node(name: str, other: str, serial: str) -> None:
    common = common_name(name, serial)
    assert len(common) <= 64
    assert is_common_name_of(common, name)
    assert is_common_name_of(common, other) is (name[:47] == other[:47])


@pytest.mark.parametrize("common", ["", "#12", "kn1", "kn1#2#3"])
def test_other_common_names_prove_nothing(common: str) -> None:
    assert not is_common_name_of(common, "kn1")
    assert not is_common_name_of(common, "")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "megatools:node:",
        "megatools:node:c:kn1:full",
        "megatools:node:c::full:",
        "megatools:node:c:kn1:root:",
        "x:y",
    ],
)
def test_other_uris_name_no_node(uri: str) -> None:
    with pytest.raises(Corrupt):
        read_uri(uri)


@pytest.mark.parametrize("name", ["", "-kn1", "kn 1", "kn1/..", "a" * 65, "kn1\n", "kn#1"])
def test_names_no_host_has_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="not a name for a node"):
        check_name(name)


def test_the_caller_is_who_the_identity_says() -> None:
    identity = Identity("c", "kn1", Role.READ_ONLY, "red")
    assert identity.caller == Caller("kn1", Role.READ_ONLY, "red")
