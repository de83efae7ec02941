"""What deployments start other daemons with, and what they say where no node can be made a member."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatools.hostkit.errors import Unavailable
from megatools.minimega.app.deploying import deployment
from megatools.minimega.app.flags import parse
from megatools.minimega.app.settings import Settings, from_flags
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.issuing import found_cluster


def test_flags_mean_at_the_other_host_what_they_mean_here(tmp_path: Path) -> None:
    settings = Settings(mesh_hubs=("kn1", "kn2"), mesh_open=True, port=9100, broadcast="kn1,kn2")
    flags = deployment(settings, "kn1", CredentialStore(tmp_path, "kn1"), lambda: ()).defaults
    assert sorted(flags) == ["-broadcast=kn1,kn2", "-mesh-hubs=kn1,kn2", "-mesh-open=true", "-port=9100"]
    assert from_flags(parse(list(flags))).settings == settings


def test_a_member_without_the_authority_says_who_has_it(tmp_path: Path) -> None:
    one, two = (CredentialStore(tmp_path / name, name) for name in ("kn1", "kn2"))
    authority = found_cluster(one, "", ())
    enroller = deployment(Settings(), "kn2", two, lambda: ()).enroller
    assert enroller is not None
    with pytest.raises(Unavailable, match="no cluster to make it a member of"):
        enroller.enrolled("kn3")
    two.save(authority.credentials("kn2"))
    for known, hint in ((("kn1", "kn7"), "deploy from kn[1,7]"), ((), "deploy from the host where `cluster init` ran")):
        enroller = deployment(Settings(), "kn2", two, lambda known=known: known).enroller
        assert enroller is not None
        with pytest.raises(Unavailable, match='"kn2" cannot make it a member: the authority') as caught:
            enroller.credentials("kn3")
        assert caught.value.hint == hint
    enroller = deployment(Settings(), "kn1", one, lambda: ()).enroller
    assert enroller is not None
    assert enroller.enrolled("kn2")
    assert not enroller.enrolled("kn3")
