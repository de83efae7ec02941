"""The live list: a snapshot, then differences, then an end."""

import asyncio
import json
from collections.abc import AsyncIterator

from megatools.minimega.web.feed import Feed
from tests.support.site import Guest, QemuFleet


class Followed(QemuFleet):
    """Counts who follows it."""

    followers = 0

    async def changes(self) -> AsyncIterator[object]:
        self.followers += 1
        try:
            async for change in super().changes():
                yield change
        finally:
            self.followers -= 1

    async def until(self, followers: int) -> None:
        while self.followers != followers:
            await asyncio.sleep(0)


async def next_event(stream: AsyncIterator[bytes]) -> tuple[str, dict[str, list[dict[str, str]]]]:
    async with asyncio.timeout(10):
        async for chunk in stream:
            if chunk.startswith(b"event: "):
                name, data = chunk.decode().removeprefix("event: ").strip().split("\ndata: ")
                return name, json.loads(data)
    raise AssertionError("the stream ended")


async def changed(feed: Feed, fleet: QemuFleet, namespace: str | None = None) -> None:
    stream = feed.events(namespace)
    name, body = await next_event(stream)
    assert (name, body["vms"]) == ("snapshot", [])
    mine = fleet.add(Guest("mine", "lab"))
    fleet.add(Guest("other", "elsewhere"))
    seen: set[str] = set()
    while not {"mine"} <= seen:
        name, body = await next_event(stream)
        assert name == "change"
        seen |= {row["name"] for row in body["vms"]}
    assert ("other" in seen) is (namespace is None)
    mine.state = "RUNNING"
    fleet.changed()
    name, body = await next_event(stream)
    assert [(row["name"], row["state"]) for row in body["vms"]] == [("mine", "RUNNING")]
    assert "uptime" not in body["vms"][0]
    fleet.guests.remove(mine)
    fleet.changed()
    name, body = await next_event(stream)
    while not body["gone"]:
        name, body = await next_event(stream)
    assert body["gone"] == [mine.uuid]
    feed.close()
    async with asyncio.timeout(10):
        assert [chunk async for chunk in stream if chunk.startswith(b"event")] == []


async def test_all_namespaces(tmp_path) -> None:  # type: ignore[no-untyped-def]
    fleet = QemuFleet(tmp_path)
    feed = Feed(fleet)
    async with asyncio.TaskGroup() as group:
        group.create_task(feed.run())
        await changed(feed, fleet)


async def test_one_namespace(tmp_path) -> None:  # type: ignore[no-untyped-def]
    fleet = QemuFleet(tmp_path)
    feed = Feed(fleet)
    async with asyncio.TaskGroup() as group:
        group.create_task(feed.run())
        await changed(feed, fleet, "lab")


async def test_a_late_viewer_gets_the_state_of_now(tmp_path) -> None:  # type: ignore[no-untyped-def]
    fleet = QemuFleet(tmp_path)
    feed = Feed(fleet)
    async with asyncio.TaskGroup() as group:
        group.create_task(feed.run())
        first = feed.events()
        await next_event(first)
        await first.aclose()  # type: ignore[attr-defined]
        fleet.add(Guest("late"))
        _, body = await next_event(feed.events())
        assert [row["name"] for row in body["vms"]] == ["late"]
        feed.close()


async def test_the_fleet_is_followed_only_while_somebody_views_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    fleet = Followed(tmp_path)
    feed = Feed(fleet)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(feed.run())
        await asyncio.sleep(0)
        assert not fleet.followers
        for _ in range(2):
            stream = feed.events()
            await next_event(stream)
            await fleet.until(1)
            await stream.aclose()  # type: ignore[attr-defined]
            await fleet.until(0)
        feed.close()


async def test_silent_hosts_are_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    fleet = Followed(tmp_path)
    feed = Feed(fleet)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(feed.run())
        stream = feed.events()
        assert (await next_event(stream))[1]["silent"] == {}
        await fleet.until(1)
        fleet.hushed = {"kn2": "it left the mesh"}
        fleet.changed()
        name, body = await next_event(stream)
        assert (name, body) == ("change", {"vms": [], "gone": [], "silent": {"kn2": "it left the mesh"}})
        feed.close()
        await stream.aclose()  # type: ignore[attr-defined]
