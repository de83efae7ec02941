"""The engine over a real store in a temporary directory, with a clock that moves when told to."""

import os
from pathlib import Path

import pytest

from megatools.hostkit.errors import AlreadyExists, InvalidInput, InvalidState, MegaError, NotFound, PermissionDenied
from megatools.igor.api.engine import Engine
from megatools.igor.api.requests import (
    AnyRequest,
    Block,
    ChangeNodes,
    Check,
    CheckReport,
    Delete,
    Edit,
    Extend,
    Import,
    SetProfile,
    Stats,
    StatsTable,
    Submit,
    Tick,
)
from megatools.igor.cli.machine import aliases
from megatools.igor.model.nodes import from_text
from megatools.igor.model.reservation import State
from tests.unit.igor.engines import BOB, HOUR, ROOT, Igor, address_of

_NOTICES = '"notices": {"command": "/bin/true"}'


def test_the_documents_session(igor: Igor) -> None:
    got = igor.sub("testing", nodes="kn[1-10]", duration_s=0)
    assert (got.state, got.duration_s, got.nodes.text()) == (State.ACTIVE, 12 * HOUR, "1-10")
    assert igor.booted() == {f"0A0000{number:02X}" for number in range(1, 11)}
    expected = "default testing\n\nlabel testing\nkernel /igor/testing-kernel\nappend initrd=/igor/testing-initrd\n"
    for path in ("pxelinux.cfg/igor/testing", "pxelinux.cfg/0A00000A"):
        assert (igor.root / path).read_text() == expected
    assert (igor.root / "igor/testing-kernel").read_bytes() == os.pread(igor.files[0], 9999, 0)
    igor.agrees()
    igor.ask(Delete("testing"))
    assert igor.booted() == set()
    assert igor.live() == {}
    assert [path for path in (igor.root / "igor").rglob("*") if path.is_file() and "state" not in path.parts] == []


def test_overlaps_say_who_and_until_when(igor: Igor) -> None:
    igor.sub("testing", nodes="kn[1-10]")
    with pytest.raises(InvalidState, match=r'"kn\[9-10\]" are held by "testing" \(alice\) until 2026') as caught:
        igor.sub("other", BOB, nodes="kn[9-12]")
    assert "would start it at" in caught.value.hint
    assert "other" not in igor.live()
    igor.agrees()


@pytest.mark.parametrize(
    ("kind", "request_"),
    [
        (InvalidInput, Submit("a/b", nodes="kn1", kernel=0)),
        (InvalidInput, Submit("x", kernel=0)),
        (InvalidInput, Submit("x", nodes="kn1", count=2, kernel=0)),
        (InvalidInput, Submit("x", nodes="kn[3-1]", kernel=0)),
        (InvalidInput, Submit("x", nodes="kn1")),
        (InvalidInput, Submit("x", nodes="kn1", kernel=1, initrd=0)),
        (InvalidInput, Submit("x", nodes="kn1", kernel=0, args="a\nb")),
        (InvalidInput, Submit("x", nodes="kn1", kernel=0, duration_s=1)),
        (InvalidInput, Submit("x", nodes="kn1", kernel=5)),
        (InvalidInput, Submit("x", nodes="kn1", kernel=0, start_s=5)),
        (InvalidInput, Submit("x", count=21, kernel=0)),
        (NotFound, Submit("x", nodes="kn21", kernel=0)),
        (NotFound, Submit("x", nodes="kn1", profile="nope")),
        (NotFound, Delete("nope")),
        (NotFound, Extend("nope", 60)),
        (PermissionDenied, Submit("x", nodes="kn1", kernel=0, group="chemistry")),
        (PermissionDenied, Submit("x", nodes="kn1", kind="maintenance")),
        (PermissionDenied, Block("kn1", "why")),
        (PermissionDenied, Import("[]")),
        (PermissionDenied, Check(repair=True)),
    ],
)
def test_bad_requests_change_nothing(igor: Igor, kind: type[MegaError], request_: AnyRequest) -> None:
    with pytest.raises(kind):
        igor.ask(request_)
    assert igor.live() == {}
    assert igor.booted() == set() if (igor.root / "pxelinux.cfg").exists() else True
    igor.agrees()
    images = igor.root / "igor" / "images"
    assert not images.exists() or list(images.iterdir()) == []


def test_a_node_without_an_address_is_named_and_nothing_is_left(igor: Igor) -> None:
    igor.engine = Engine(
        igor.config, igor.store, clock=igor.clock, resolve=lambda name: "" if name == "kn2" else "1.2.3.4"
    )
    with pytest.raises(NotFound, match='node "kn2" has no address'):
        igor.sub("x", nodes="kn[1-3]")
    assert igor.live() == {}
    igor.agrees()


def test_names_are_taken_until_they_are_free(igor: Igor) -> None:
    igor.sub("x", nodes="kn1")
    with pytest.raises(AlreadyExists, match='"x" already'):
        igor.sub("x", BOB, nodes="kn2")
    igor.ask(Delete("x"))
    igor.sub("x", BOB, nodes="kn2")


def test_the_expired_keep_their_nodes_until_somebody_takes_them(igor: Igor) -> None:
    igor.sub("old", nodes="kn[1-4]")
    igor.clock.advance(2 * HOUR)
    igor.ask(Tick(), ROOT)
    assert igor.live()["old"].expired(igor.engine.now_s())
    assert "0A000001" in igor.booted()
    igor.sub("new", BOB, nodes="kn[4-6]")
    assert set(igor.live()) == {"new"}
    assert igor.booted() == {"0A000004", "0A000005", "0A000006"}
    assert any(person == "alice" and '"bob" needed nodes' in text for person, text in igor.told())
    igor.agrees()


def test_anybody_may_delete_the_expired_only(igor: Igor) -> None:
    igor.sub("old", nodes="kn1")
    with pytest.raises(PermissionDenied, match='belongs to "alice"'):
        igor.ask(Delete("old"), BOB)
    igor.clock.advance(HOUR)
    igor.ask(Delete("old"), BOB)
    assert ("alice", '"bob" ended your reservation "old"') in igor.told()


def test_a_setting_frees_at_expiry(tmp_path: Path) -> None:
    igor = Igor(tmp_path, '"free_at_expiry": true')
    igor.sub("old", nodes="kn1")
    igor.clock.advance(HOUR)
    igor.ask(Tick(), ROOT)
    assert igor.live() == {}
    assert igor.booted() == set()
    igor.store.close()


def test_later_reservations_start_when_their_time_comes(igor: Igor) -> None:
    start_s = igor.engine.now_s() + 5 * HOUR
    assert igor.sub("later", nodes="kn[1-2]", start_s=start_s).state is State.PLANNED
    with pytest.raises(InvalidState, match=r'held by "later" \(alice\) from'):
        igor.sub("now", nodes="kn1", duration_s=6 * HOUR)
    igor.sub("before", nodes="kn1", duration_s=5 * HOUR)
    igor.clock.advance(5 * HOUR)
    igor.ask(Tick(), ROOT)
    assert {name: one.state for name, one in igor.live().items()} == {"later": State.ACTIVE}, "it took kn1 over"
    igor.agrees()


def test_the_queue_moves_up_when_room_appears(igor: Igor) -> None:
    igor.sub("big", nodes="kn[1-20]", duration_s=10 * HOUR)
    first = igor.sub("first", BOB, count=15, wait=True)
    second = igor.sub("second", BOB, count=5, wait=True)
    assert first.waiting
    assert first.start_s == second.start_s == igor.live()["big"].end_s
    igor.ask(Delete("big"))
    live = igor.live()
    assert live["first"].state is live["second"].state is State.ACTIVE
    igor.agrees()


def test_a_waiting_reservation_keeps_what_was_added_when_it_moves_up(igor: Igor) -> None:
    igor.sub("big", nodes="kn[1-20]", duration_s=10 * HOUR)
    igor.sub("queued", BOB, count=3, wait=True)
    igor.ask(ChangeNodes("queued", add_count=2), BOB)
    igor.ask(Delete("big"))
    moved = igor.live()["queued"]
    assert (moved.state, len(moved.nodes), moved.order) == (State.ACTIVE, 5, tuple(moved.nodes))


def test_best_effort_yields_and_its_owner_is_told(igor: Igor) -> None:
    igor.sub("spare", BOB, nodes="kn[1-20]", kind="best-effort", duration_s=10 * HOUR)
    later_s = igor.engine.now_s() + 5 * HOUR
    igor.sub("later", count=3, start_s=later_s)
    assert igor.live()["spare"].end_s == later_s
    igor.sub("now", count=3)
    assert "spare" not in igor.live()
    assert [text for person, text in igor.told() if person == "bob"]
    with pytest.raises(InvalidState):
        igor.sub("meek", BOB, nodes="kn[1-20]", kind="best-effort")


def test_extending_stops_at_the_next_one(igor: Igor) -> None:
    got = igor.sub("x", nodes="kn1")
    assert igor.ask(Extend("x", HOUR)).reservations[0].end_s == got.end_s + HOUR
    igor.sub("next", BOB, nodes="kn1", start_s=got.end_s + 3 * HOUR)
    with pytest.raises(InvalidState, match='held by "next"'):
        igor.ask(Extend("x", 5 * HOUR))
    assert igor.ask(Extend("x", most=True)).reservations[0].end_s == got.end_s + 3 * HOUR
    with pytest.raises(InvalidState, match="cannot last longer"):
        igor.ask(Extend("x", most=True))
    with pytest.raises(PermissionDenied):
        igor.ask(Extend("x", 60), BOB)


def test_nodes_come_and_go(igor: Igor) -> None:
    igor.sub("x", nodes="kn[1-3]")
    igor.sub("y", BOB, nodes="kn4")
    assert igor.ask(ChangeNodes("x", add_count=2)).reservations[0].nodes.text() == "1-3,5-6"
    with pytest.raises(InvalidState, match='held by "y"'):
        igor.ask(ChangeNodes("x", add="kn4"))
    assert igor.ask(ChangeNodes("x", drop="kn[1-2]")).reservations[0].nodes.text() == "3,5-6"
    assert igor.booted() == {"0A000003", "0A000004", "0A000005", "0A000006"}
    with pytest.raises(InvalidState, match="without nodes"):
        igor.ask(ChangeNodes("x", drop="kn[3,5-6]"))
    with pytest.raises(InvalidInput, match="is not part of"):
        igor.ask(ChangeNodes("x", drop="kn9"))
    igor.agrees()


def test_aliases_stay_where_they_are(igor: Igor) -> None:
    cluster = igor.config.cluster
    first = igor.sub("x", nodes="kn[1-3]")
    assert aliases(first, cluster) == {"x.0": "kn1", "x.1": "kn2", "x.2": "kn3"}
    igor.ask(ChangeNodes("x", drop="kn2"))
    now = igor.ask(ChangeNodes("x", add="kn[2,9]")).reservations[0]
    assert aliases(now, cluster) == {"x.0": "kn1", "x.2": "kn3", "x.3": "kn2", "x.4": "kn9"}


def test_aliases_stay_when_a_waiting_reservation_moves_up(igor: Igor) -> None:
    igor.sub("first", nodes="kn[1-20]")
    igor.sub("x", BOB, nodes="kn[1-3]", wait=True)
    igor.ask(ChangeNodes("x", drop="kn2"), BOB)
    igor.ask(Delete("first"))
    moved = igor.live()["x"]
    assert moved.state is State.ACTIVE
    assert aliases(moved, igor.config.cluster) == {"x.0": "kn1", "x.2": "kn3"}
    assert moved.order == (1, 0, 3)
    elsewhere = moved.order_on(from_text("3,7"))
    assert elsewhere == (7, 0, 3), "who stays keeps its alias, a dropped one is not given again"


def test_editing_what_is_booted(igor: Igor) -> None:
    igor.sub("x", nodes="kn1")
    igor.ask(Edit("x", args="single", new_name="z", group="users"))
    text = (igor.root / "pxelinux.cfg/0A000001").read_text()
    assert text == "default z\n\nlabel z\nkernel /igor/z-kernel\nappend initrd=/igor/z-initrd single\n"
    assert not (igor.root / "igor/x-kernel").exists()
    igor.ask(Edit("z", note="hello"), BOB)
    with pytest.raises(PermissionDenied, match="only administrators"):
        igor.ask(Edit("z", owner="bob"))
    assert igor.ask(Edit("z", owner="bob"), ROOT).reservations[0].owner == "bob"
    igor.agrees()


def test_profiles_keep_images_and_private_ones_are_hidden(igor: Igor) -> None:
    igor.ask(SetProfile("deb", 0, 1, args="quiet", public=False))
    with pytest.raises(NotFound, match='no profile "deb"'):
        igor.sub("x", BOB, nodes="kn1", profile="deb", kernel=-1, initrd=-1)
    igor.sub("x", nodes="kn1", profile="deb", kernel=-1, initrd=-1, args="single")
    assert "append initrd=/igor/x-initrd quiet single" in (igor.root / "pxelinux.cfg/0A000001").read_text()
    igor.ask(Delete("x"))
    assert len(list((igor.root / "igor/images").iterdir())) == 2
    igor.ask(SetProfile("deb", remove=True))
    assert list((igor.root / "igor/images").iterdir()) == []


def test_blocked_nodes_say_why(igor: Igor) -> None:
    igor.ask(Block("kn[1-2]", "bad disk"), ROOT)
    with pytest.raises(InvalidState, match='"kn1" cannot be reserved: bad disk'):
        igor.sub("x", nodes="kn1")
    assert igor.sub("x", count=18).nodes.text() == "3-20"
    igor.sub("work", ROOT, nodes="kn1", kind="maintenance", kernel=-1, initrd=-1)
    assert "0A000001" not in igor.booted()


def test_recurring_reservations_are_all_or_none(igor: Igor) -> None:
    igor.sub("daily", nodes="kn1", every_s=24 * HOUR, times=3)
    live = igor.live()
    assert set(live) == {"daily", "daily-2", "daily-3"}
    assert live["daily-3"].start_s - live["daily"].start_s == 48 * HOUR
    with pytest.raises(InvalidState):
        igor.sub("clash", nodes="kn1", start_s=live["daily"].start_s + 12 * HOUR, every_s=12 * HOUR, times=3)
    assert set(igor.live()) == {"daily", "daily-2", "daily-3"}
    igor.ask(Delete("daily", series=True))
    assert igor.live() == {}


def test_a_clock_set_back_frees_nothing(igor: Igor) -> None:
    igor.sub("x", nodes="kn1")
    igor.clock.advance(-100 * HOUR)
    with pytest.raises(InvalidState, match='held by "x"'):
        igor.sub("y", BOB, nodes="kn1")


def test_pausing_refuses_changes_but_not_looking(igor: Igor) -> None:
    igor.engine = Engine(igor.configured('"pause": "moving house"'), igor.store, clock=igor.clock, resolve=address_of)
    with pytest.raises(InvalidState, match="moving house"):
        igor.sub("x", nodes="kn1")
    assert igor.live() == {}


def test_speculation_reserves_nothing(igor: Igor) -> None:
    igor.sub("x", nodes="kn[1-15]", duration_s=2 * HOUR)
    done = igor.ask(Submit("spec", count=10, duration_s=HOUR, speculate=True))
    found = [(one.start_s - igor.engine.now_s(), one.nodes, one.why) for one in done.openings]
    assert found == [(2 * HOUR, "kn[1-10]", 'when "x" ends')]
    assert set(igor.live()) == {"x"}


def test_check_finds_and_repairs(igor: Igor) -> None:
    igor.sub("x", nodes="kn[1-2]")
    (igor.root / "pxelinux.cfg/0A000001").write_text("default evil\n")
    (igor.root / "pxelinux.cfg/0A000002").unlink()
    (igor.root / "igor/images/stray").write_text("")
    report = igor.engine.ask(ROOT, Check())
    assert isinstance(report, CheckReport)
    assert len(report.problems) == 3
    repaired = igor.engine.ask(ROOT, Check(repair=True))
    assert isinstance(repaired, CheckReport)
    assert repaired.problems == ()
    assert len(repaired.repaired) == 3
    igor.agrees()


def test_importing_what_the_original_kept(igor: Igor) -> None:
    (igor.root / "igor").mkdir(exist_ok=True)
    for name, descriptor in zip(("old-kernel", "old-initrd"), igor.files, strict=True):
        (igor.root / "igor" / name).write_bytes(os.pread(descriptor, 9999, 0))
    until = igor.engine.now_s() + 5 * HOUR
    text = (
        f'[{{"ResName":"old","Hosts":["kn3","kn4"],"PXENames":["0A000003"],"Expiration":{until},"Owner":"carol"}},'
        f'{{"ResName":"lost","Hosts":["kn5"],"PXENames":[],"Expiration":{until},"Owner":"carol"}}]'
    )
    done = igor.ask(Import(text), ROOT)
    assert [(one.name, one.owner, one.end_s) for one in done.reservations] == [("old", "carol", until)]
    assert len(done.messages) == 1
    assert 'its "igor/lost-kernel" is not below the TFTP root' in done.messages[0]
    assert igor.booted() == {"0A000003", "0A000004"}
    igor.agrees()


def test_statistics(igor: Igor) -> None:
    igor.sub("x", nodes="kn[1-10]", duration_s=10 * HOUR)
    igor.clock.advance(2 * HOUR)
    igor.ask(Delete("x"))
    table = igor.engine.ask(BOB, Stats(1))
    assert isinstance(table, StatsTable)
    assert [(row.owner, row.reservations, row.node_hours) for row in table.rows] == [("alice", 1, 20.0), ("*", 1, 20.0)]
    assert table.busy_share == pytest.approx(20 / (24 * 20), abs=1e-3)
