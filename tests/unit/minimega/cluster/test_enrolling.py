"""What the authority issued is made known to all nodes, however late."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megatools.hostkit import tasks
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster.enrolling import ClusterControl
from megatools.minimega.cluster.roll import AUTHORITY_KIND, KIND, AuthorityAt, Roll
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.issuing import Issued, found_cluster
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import StampClock
from tests.unit.minimega.state.full_disk import full_disk


@pytest.mark.anyio
async def test_what_was_issued_is_told_once_the_disk_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_FIRST_PAUSE_S", 0.0)
    store = CredentialStore(tmp_path / "cluster", "kn1")
    found_cluster(store, "", ())
    journal = Journal(tmp_path / "journal.db", "kn1")
    shared = Shared(journal, StampClock("kn1"))
    silent: Any = SimpleNamespace(start=lambda: None, resume=lambda: None)
    control = ClusterControl(store, silent, Roll(store, shared), silent, silent, silent, lambda: "")
    async with Supervisor("test") as supervisor, asyncio.timeout(20):
        with full_disk(journal) as refused:
            control.start(supervisor)
            while not refused:
                await asyncio.sleep(0)
        while shared.get(AUTHORITY_KIND, "kn1", AuthorityAt) is None:
            await asyncio.sleep(0)
        assert [issued.name for issued in shared.all(KIND, Issued).values()] == ["kn1"]
    journal.close()
