"""Codes beside signatures: good for one request, from one node, to one node, and only while its certificate counts."""

from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.clock import FakeClock
from megatools.hostkit.errors import PermissionDenied
from megatools.minimega.mesh.codes import CODE_BYTES
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.issuing import found_cluster
from megatools.minimega.mesh.signing import CertificateTrust, Proof

NAMES = ("kn0", "kn2", "kn1")


class Three:
    """Three nodes of a cluster that have all asked each other a few times."""

    def __init__(self, directory: Path) -> None:
        self.store = CredentialStore(directory, "kn0", FakeClock())
        self.authority = found_cluster(self.store, "", ())
        own = self.store.load()
        assert own is not None
        others = {name: self.authority.credentials(name) for name in ("kn1", "kn2")}
        self.nodes = {name: CertificateTrust(found, self.store) for name, found in {"kn0": own, **others}.items()}
        for _ in range(5):
            for name in self.nodes:
                proof = self.nodes[name].sign(b"hello", NAMES)
                for place, other in enumerate(NAMES):
                    self.nodes[other].verify(b"hello", proof, name, place)

    def proof(self, name: str, request: bytes, to: tuple[str, ...] = NAMES) -> Proof:
        return msgspec.msgpack.decode(self.nodes[name].sign(request, to), type=Proof)

    def believes(self, name: str, request: bytes, proof: Proof, claimed: str, place: int) -> bool:
        """Whether the code alone is believed: the signature is spoilt."""
        bare = msgspec.structs.replace(proof, signature=b"spoilt")
        try:
            caller = self.nodes[name].verify(request, msgspec.msgpack.encode(bare), claimed, place)
        except PermissionDenied as error:
            assert "not signed with its key" in str(error)
            return False
        assert caller.name == claimed
        return True


@pytest.fixture
def three(tmp_path: Path) -> Three:
    return Three(tmp_path)


def test_nodes_that_know_each_other_read_the_code(three: Three) -> None:
    proof = three.proof("kn1", b"run")
    assert three.believes("kn0", b"run", proof, "kn1", 0)
    assert three.believes("kn2", b"run", proof, "kn1", 1)
    assert three.believes("kn0", b"run", three.proof("kn1", b"run", ("kn0",)), "kn1", 0)


def test_a_code_is_for_one_request_one_node_and_one_direction(three: Three) -> None:
    proof = three.proof("kn1", b"run")
    assert not three.believes("kn0", b"ruin", proof, "kn1", 0)
    assert not three.believes("kn0", b"run", proof, "kn1", 1)  # that of kn2
    assert not three.believes("kn0", b"run", proof, "kn1", 7)
    own = three.proof("kn0", b"run", ("kn1",))  # kn1 sends back what kn0 made, as if it had made it
    mirrored = Proof(proof.certificate, b"", own.codes)
    assert not three.believes("kn0", b"run", mirrored, "kn1", 0)
    other = three.proof("kn2", b"run", ("kn0",))  # and kn1 what kn2 made
    assert not three.believes("kn0", b"run", Proof(proof.certificate, b"", other.codes), "kn1", 0)
    assert not three.believes("kn0", b"run", Proof(proof.certificate, b"", bytes(3 * CODE_BYTES)), "kn1", 0)
    assert not three.believes("kn0", b"run", Proof(proof.certificate, b"", b"short"), "kn1", 0)


def test_the_signature_counts_where_there_is_no_code_yet(tmp_path: Path) -> None:
    three = Three(tmp_path)
    newcomer = CertificateTrust(three.authority.credentials("kn3"), three.store)
    proof = three.nodes["kn1"].sign(b"run", ("kn3",))
    assert msgspec.msgpack.decode(proof, type=Proof).codes == b""
    assert newcomer.verify(b"run", proof, "kn1", 0).name == "kn1"


def test_a_node_with_another_certificate_is_believed_by_its_signature_and_then_by_its_code(three: Three) -> None:
    entry = three.authority.member("kn2")
    assert entry is not None
    three.store.revoke([entry.revocation(three.store.clock.now())])
    three.nodes["kn2"] = CertificateTrust(three.authority.credentials("kn2"), three.store)
    to_the_old_one = three.proof("kn1", b"run")
    assert not three.believes("kn2", b"run", to_the_old_one, "kn1", 1)
    assert three.nodes["kn2"].verify(b"run", msgspec.msgpack.encode(to_the_old_one), "kn1", 1).name == "kn1"
    for _ in range(5):
        for one, other in (("kn1", "kn2"), ("kn2", "kn1")):
            three.nodes[other].verify(b"again", three.nodes[one].sign(b"again", (other,)), one, 0)
    assert three.believes("kn2", b"run", three.proof("kn1", b"run"), "kn1", 1)


def test_a_code_of_a_revoked_node_is_worth_nothing(three: Three) -> None:
    proof = three.proof("kn1", b"run")
    entry = three.authority.member("kn1")
    assert entry is not None
    three.store.revoke([entry.revocation(three.store.clock.now())])
    with pytest.raises(PermissionDenied, match="was revoked"):
        three.nodes["kn0"].verify(b"run", msgspec.msgpack.encode(proof), "kn1", 0)
