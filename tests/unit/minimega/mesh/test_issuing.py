"""The authority: one member per name, tokens that count once, and nothing half done."""

from datetime import timedelta
from pathlib import Path

import pytest

from megatools.hostkit.clock import FakeClock
from megatools.hostkit.errors import AlreadyExists, Corrupt, InvalidInput, InvalidState, NotFound, PermissionDenied
from megatools.hostkit.x509 import Key
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.identity import identity_of, is_common_name_of
from megatools.minimega.mesh.issuing import (
    Authority,
    Invitation,
    Joining,
    found_cluster,
    open_authority,
    required_authority,
)
from megatools.minimega.mesh.mesh import Role

_SERVER = b"server's fingerprint"
_KEY = Key.make()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> CredentialStore:
    return CredentialStore(tmp_path / "c", "kn0", clock)


@pytest.fixture
def authority(store: CredentialStore) -> Authority:
    return found_cluster(store, "knights", ("10.0.0.1",))


def invite(authority: Authority, name: str = "", role: Role = Role.FULL, namespace: str = "") -> Invitation:
    return authority.invite(name, role, namespace, 9003, ("10.0.0.1",))


def joining(invitation: Invitation, name: str = "kn1", key: Key = _KEY) -> Joining:
    request = key.request()
    proof = invitation.token.proof(_SERVER, name, request)
    return Joining(invitation.token.id, name, ("10.0.0.2",), request, proof)


def test_founding_makes_the_first_member(store: CredentialStore, authority: Authority) -> None:
    own = store.load()
    assert own is not None
    assert (own.identity.name, own.identity.role, own.cluster) == ("kn0", Role.FULL, authority.cluster)
    assert own.certificate.names.addresses == ("10.0.0.1",)
    assert [entry.name for entry in authority.issued()] == ["kn0"]
    assert {path.stat().st_mode & 0o777 for path in store.directory.iterdir()} == {0o600}
    with pytest.raises(AlreadyExists, match="in a cluster already"):
        found_cluster(store, "", ())


def test_founding_again_after_leaving_keeps_the_cluster(store: CredentialStore, authority: Authority) -> None:
    store.forget()
    again = found_cluster(store, "", ())
    assert again.cluster == authority.cluster
    assert store.load() is not None


def test_where_there_is_no_authority_it_says_so(store: CredentialStore) -> None:
    assert open_authority(store) is None
    with pytest.raises(NotFound, match="not on this host"):
        required_authority(store)


def test_a_damaged_authority_is_named(store: CredentialStore, authority: Authority) -> None:
    assert authority.member("kn0") is not None
    (store.directory / "authority.json").write_text("{")
    with pytest.raises(Corrupt, match=r"authority in .* is damaged"):
        open_authority(store)


def test_a_token_makes_a_member(store: CredentialStore, authority: Authority) -> None:
    invitation = invite(authority, "kn1", Role.READ_ONLY, "red")
    certificate = authority.redeem(joining(invitation), _SERVER)
    identity = identity_of(certificate)
    assert (identity.name, identity.role, identity.namespace) == ("kn1", Role.READ_ONLY, "red")
    assert certificate.issued_by(authority.certificate) and certificate.belongs_to(_KEY)
    assert certificate.names.addresses == ("10.0.0.2",) and certificate.names.dns == ("kn1",)
    assert is_common_name_of(certificate.names.common, "kn1")
    member = required_authority(store).member("kn1")
    assert member is not None and member.serial == certificate.serial


def test_the_same_request_gets_the_same_certificate_again_and_another_none(
    store: CredentialStore, authority: Authority
) -> None:
    invitation = invite(authority)
    first = authority.redeem(joining(invitation), _SERVER)
    later = required_authority(store)  # as a daemon that was started again knows it
    again = joining(invitation)
    request = later.invitations()[0].request
    proof = invitation.token.proof(_SERVER, "kn1", request)
    assert later.redeem(Joining(again.invitation, "kn1", (), request, proof), _SERVER).der == first.der
    with pytest.raises(InvalidState, match="used already"):
        later.redeem(joining(invitation, "kn2", Key.make()), _SERVER)
    assert [entry.name for entry in later.issued()] == ["kn0", "kn1"]


def test_wrong_tokens_change_nothing(authority: Authority, clock: FakeClock) -> None:
    invitation = invite(authority, "kn1")
    other = Authority.invite(authority, "", Role.FULL, "", 9003, ()).token
    wrong = joining(invitation)
    with pytest.raises(PermissionDenied, match="token is wrong"):
        authority.redeem(wrong, b"another server")
    forged = Joining(wrong.invitation, "kn1", (), wrong.request, other.proof(_SERVER, "kn1", wrong.request))
    with pytest.raises(PermissionDenied, match="token is wrong"):
        authority.redeem(forged, _SERVER)
    with pytest.raises(PermissionDenied, match='for a node called "kn1", not "kn2"'):
        authority.redeem(joining(invitation, "kn2"), _SERVER)
    clock.advance(timedelta(hours=1).total_seconds())
    with pytest.raises(PermissionDenied, match="unknown here, or has expired"):
        authority.redeem(joining(invitation), _SERVER)
    assert [entry.name for entry in authority.issued()] == ["kn0"]


def test_a_name_is_given_once_until_it_is_revoked(
    store: CredentialStore, authority: Authority, clock: FakeClock
) -> None:
    open_one = invite(authority)
    authority.credentials("kn1")
    for attempt in (
        lambda: authority.credentials("kn1"),
        lambda: invite(authority, "kn1"),
        lambda: authority.redeem(joining(open_one), _SERVER),
    ):
        with pytest.raises(AlreadyExists, match='a node called "kn1" is in the cluster since 2026-01-01'):
            attempt()
    assert not open_one.used
    known = authority.member("kn1")
    assert known is not None
    store.revoke([known.revocation(clock.now())])
    assert authority.member("kn1") is None
    renewed = authority.redeem(joining(open_one), _SERVER)
    assert renewed.serial != known.serial and renewed.names.common != known.common_name


@pytest.mark.parametrize("name", ["", "a b", "x" * 65])
def test_names_no_host_has_get_nothing(authority: Authority, name: str) -> None:
    with pytest.raises(InvalidInput, match="not a name"):
        authority.redeem(joining(invite(authority), name), _SERVER)
    with pytest.raises(InvalidInput, match="not a name"):
        authority.credentials(name)
    assert len(authority.issued()) == 1


def test_odd_host_names_are_no_alternative_names(authority: Authority) -> None:
    assert authority.credentials("kn_1").certificate.names.dns == ()
    assert authority.credentials("kn1.example").certificate.names.dns == ("kn1.example",)


def test_certificates_end_with_their_authority(authority: Authority, clock: FakeClock) -> None:
    clock.advance(timedelta(days=365 * 28).total_seconds())
    assert authority.credentials("kn1").certificate.validity.end == authority.certificate.validity.end
