"""Signed requests: only what a member of the cluster signed is believed, and only as what it is."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatools.hostkit.clock import FakeClock
from megatools.hostkit.errors import PermissionDenied
from megatools.minimega.mesh.credentials import Credentials, CredentialStore
from megatools.minimega.mesh.issuing import Authority, found_cluster
from megatools.minimega.mesh.mesh import Caller, Role
from megatools.minimega.mesh.signing import CertificateTrust, Proof


class Pair:
    """An authority's node that verifies, and another node that signs."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.store = CredentialStore(directory / "kn0", "kn0", self.clock)
        self.authority: Authority = found_cluster(self.store, "", ())
        own = self.store.load()
        assert own is not None
        self.ours = CertificateTrust(own, self.store)
        self.theirs = self.authority.credentials("kn1", Role.READ_ONLY, "red")
        self.signer = self.trust_of(self.theirs)

    def trust_of(self, credentials: Credentials) -> CertificateTrust:
        return CertificateTrust(credentials, self.store)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"))


@given(request=st.binary(max_size=100), other=st.binary(max_size=100))
@settings(max_examples=30, deadline=None)
def test_who_signed_is_believed_for_what_was_signed(pair: Pair, request: bytes, other: bytes) -> None:
    proof = pair.signer.sign(request, ())
    common = pair.theirs.certificate.names.common
    assert pair.ours.verify(request, proof, "kn1", 0) == Caller("kn1", Role.READ_ONLY, "red", common)
    if other != request:
        with pytest.raises(PermissionDenied, match="not signed with its key"):
            pair.ours.verify(other, proof, "kn1", 0)


@given(proof=st.binary(max_size=40))
@settings(max_examples=30, deadline=None)
def test_garbage_is_no_proof(pair: Pair, proof: bytes) -> None:
    with pytest.raises(PermissionDenied):
        pair.ours.verify(b"request", proof, "kn1", 0)


def test_a_node_is_only_itself(pair: Pair) -> None:
    with pytest.raises(PermissionDenied, match='node "kn1" says that it is "kn0"'):
        pair.ours.verify(b"request", pair.signer.sign(b"request", ()), "kn0", 0)


def test_a_certificate_without_its_key_proves_nothing(pair: Pair) -> None:
    other = pair.authority.credentials("kn2")
    stolen = msgspec.msgpack.decode(pair.trust_of(other).sign(b"request", ()), type=Proof)
    forged = Proof(pair.theirs.certificate.der, stolen.signature)
    with pytest.raises(PermissionDenied, match="not signed with its key"):
        pair.ours.verify(b"request", msgspec.msgpack.encode(forged), "kn1", 0)


def test_a_signature_over_something_else_is_none_over_a_request(pair: Pair) -> None:
    bare = Proof(pair.theirs.certificate.der, pair.theirs.key.sign(b"request"))
    with pytest.raises(PermissionDenied, match="not signed with its key"):
        pair.ours.verify(b"request", msgspec.msgpack.encode(bare), "kn1", 0)


def test_another_cluster_is_foreign(pair: Pair, tmp_path: Path) -> None:
    other = found_cluster(CredentialStore(tmp_path, "kn1", pair.clock), "", ())
    foreign = other.credentials("kn2")
    with pytest.raises(PermissionDenied, match='node "kn2" is foreign'):
        pair.ours.verify(b"request", pair.trust_of(foreign).sign(b"request", ()), "kn2", 0)


def test_the_authority_itself_is_no_node(pair: Pair) -> None:
    bare = Credentials(pair.theirs.key, pair.authority.certificate, pair.authority.certificate)
    with pytest.raises(PermissionDenied, match="unreadable"):
        pair.ours.verify(b"request", pair.trust_of(bare).sign(b"request", ()), "kn1", 0)


def test_a_revoked_node_is_believed_no_more_though_it_was(pair: Pair) -> None:
    revoked = pair.authority.credentials("kn3")
    signer = pair.trust_of(revoked)
    assert pair.ours.verify(b"1", signer.sign(b"1", ()), "kn3", 0).name == "kn3"
    entry = pair.authority.member("kn3")
    assert entry is not None
    pair.store.revoke([entry.revocation(pair.clock.now())])
    with pytest.raises(PermissionDenied, match='node "kn3" was revoked'):
        pair.ours.verify(b"2", signer.sign(b"2", ()), "kn3", 0)
    again = pair.trust_of(pair.authority.credentials("kn3"))
    assert pair.ours.verify(b"3", again.sign(b"3", ()), "kn3", 0).name == "kn3"


def test_dates_count_when_a_request_comes(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    assert pair.ours.verify(b"1", pair.signer.sign(b"1", ()), "kn1", 0).name == "kn1"
    pair.clock.advance(timedelta(days=5 * 365 + 1).total_seconds())
    with pytest.raises(PermissionDenied, match='node "kn1" has expired'):
        pair.ours.verify(b"2", pair.signer.sign(b"2", ()), "kn1", 0)
    pair.clock.advance(-timedelta(days=5 * 365 + 32).total_seconds())
    with pytest.raises(PermissionDenied, match="not valid yet"):
        pair.ours.verify(b"3", pair.signer.sign(b"3", ()), "kn1", 0)
