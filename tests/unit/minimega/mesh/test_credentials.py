"""What a node keeps on disk: whole or absent, and every kind of damage is named."""

from datetime import timedelta
from pathlib import Path

import pytest

from megatools.hostkit.clock import FakeClock
from megatools.hostkit.errors import Corrupt, InvalidState, MegaError, NotFound, PermissionDenied, hint_of, user_text
from megatools.minimega.mesh.credentials import Credentials, CredentialStore, Revocation
from megatools.minimega.mesh.issuing import Authority, found_cluster
from megatools.minimega.mesh.mesh import Role


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def authority(tmp_path: Path, clock: FakeClock) -> Authority:
    return found_cluster(CredentialStore(tmp_path / "authority", "kn0", clock), "", ())


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> CredentialStore:
    return CredentialStore(tmp_path / "kn1", "kn1", clock)


def refusal(store: CredentialStore, kind: type[MegaError]) -> str:
    with pytest.raises(kind) as raised:
        CredentialStore(store.directory, store.host, store.clock).load()
    return user_text(raised.value)


def test_a_node_in_no_cluster_has_none(store: CredentialStore) -> None:
    assert store.load() is None
    with pytest.raises(NotFound, match="in no cluster"):
        store.forget()


def test_what_is_saved_is_loaded_and_private(store: CredentialStore, authority: Authority) -> None:
    made = authority.credentials("kn1", Role.READ_ONLY, "red")
    heard: list[int] = []
    store.listen(lambda: heard.append(1))
    store.save(made)
    found = store.load()
    assert found is not None and found.pem == made.pem and heard == [1]
    assert (found.identity.name, found.identity.role, found.identity.namespace) == ("kn1", Role.READ_ONLY, "red")
    assert found.cluster == authority.cluster == found.identity.cluster
    assert store.directory.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in store.directory.iterdir()] == [0o600]
    store.forget()
    assert store.load() is None and heard == [1, 1]


def test_a_key_that_others_may_read_is_refused(store: CredentialStore, authority: Authority) -> None:
    store.save(authority.credentials("kn1"))
    (store.directory / "node.pem").chmod(0o640)
    assert "others may read" in refusal(store, PermissionDenied)


@pytest.mark.parametrize("keep", [0, 100, 300, 900, -100])
def test_a_damaged_file_is_no_file_with_less_in_it(store: CredentialStore, authority: Authority, keep: int) -> None:
    store.save(authority.credentials("kn1"))
    path = store.directory / "node.pem"
    path.write_bytes(path.read_bytes()[:keep])
    assert "are damaged" in refusal(store, Corrupt)


def test_a_foreign_certificate_is_named(store: CredentialStore, authority: Authority, tmp_path: Path) -> None:
    other = found_cluster(CredentialStore(tmp_path / "other", "kn9", store.clock), "", ())
    made = authority.credentials("kn1")
    store.save(Credentials(made.key, made.certificate, other.certificate))
    assert "foreign" in refusal(store, Corrupt)


def test_a_certificate_with_another_key_is_named(store: CredentialStore, authority: Authority) -> None:
    made, other = authority.credentials("kn1"), authority.credentials("kn2")
    store.save(Credentials(other.key, made.certificate, authority.certificate))
    assert "does not belong to the key" in refusal(store, Corrupt)


def test_a_host_of_another_name_is_no_member(store: CredentialStore, authority: Authority) -> None:
    store.save(authority.credentials("kn2"))
    assert 'this host is "kn1", but its cluster certificate is for "kn2"' in refusal(store, InvalidState)


def test_dates_are_checked_with_room_for_slow_clocks(
    store: CredentialStore, authority: Authority, clock: FakeClock
) -> None:
    store.save(authority.credentials("kn1"))
    clock.advance(-timedelta(days=29).total_seconds())
    assert store.load() is not None
    clock.advance(-timedelta(days=2).total_seconds())
    assert "not valid before" in refusal(store, InvalidState)
    clock.advance(timedelta(days=31 + 5 * 365 - 1).total_seconds())
    assert store.load() is not None
    clock.advance(timedelta(days=2).total_seconds())
    text = refusal(store, InvalidState)
    assert "expired on 20" in text and "cluster invite kn1" in text


def test_revocations_are_kept_and_told_once(store: CredentialStore, authority: Authority) -> None:
    store.save(authority.credentials("kn1"))
    heard: list[int] = []
    store.listen(lambda: heard.append(1))
    one, two = (Revocation(serial, "kn2", f"kn2#{serial}", 5) for serial in ("a", "b"))
    assert store.revoke([one]) == [one]
    assert store.revoke([one, two]) == [two]
    assert store.revoke([two]) == []
    assert len(heard) == 2
    assert CredentialStore(store.directory, "kn1").revoked == {"a": one, "b": two}


def test_a_revoked_node_knows_it(store: CredentialStore, authority: Authority) -> None:
    made = authority.credentials("kn1")
    store.save(made)
    store.revoke([Revocation(made.certificate.serial, "kn1", made.certificate.names.common, 5)])
    assert "was revoked" in refusal(store, InvalidState)


def test_a_damaged_list_of_revocations_keeps_a_node_out(store: CredentialStore, authority: Authority) -> None:
    store.save(authority.credentials("kn1"))
    path = store.directory / "revoked.json"
    path.write_text("[{")
    path.chmod(0o600)
    with pytest.raises(Corrupt, match="revoked certificates") as raised:
        store.load()
    assert hint_of(raised.value) == ""
