"""Requests over a mesh in memory: every host ends once, whatever happens to it, and within its limits."""

from __future__ import annotations

import asyncio

import pytest

from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import HostResult, Operation, Outcome, Request
from megatools.minimega.mesh.mesh import Role
from tests.unit.minimega.cluster.nodes import Change, Own, Say, Touch, mesh_of

pytestmark = pytest.mark.anyio


class Unheard(Operation, frozen=True):
    """An operation that no node knows."""


def _texts(results: list[HostResult]) -> list[tuple[str, str, str]]:
    return [(r.host, r.outcome.value, r.answer.text if r.answer else r.error) for r in results]


async def test_all_hosts_of_a_namespace_answer_in_order() -> None:
    async with mesh_of("kn1", "kn2", "kn3") as (_, (kn1, *_others)):
        assert _texts(await kn1.hosts.run(Request("lab", Say()))) == [
            ("kn1", "done", "kn1 in lab"),
            ("kn2", "done", "kn2 in lab"),
            ("kn3", "done", "kn3 in lab"),
        ]
        assert _texts(await kn1.hosts.run(Request("other", Say()))) == [("kn1", "done", "kn1 in other")]


async def test_a_namespace_without_this_host() -> None:
    async with mesh_of("kn1", "kn2", "kn3") as (_, (kn1, kn2, kn3)):
        kn1.spaces["far"] = ("kn2", "kn3")
        assert [r.host for r in await kn1.hosts.run(Request("far", Change()))] == ["kn2", "kn3"]
        assert [r.host for r in await kn1.hosts.run(Request("far", Own()))] == ["kn1"]
        assert (kn1.done, kn2.done, kn3.done) == (["count"], ["count"], ["count"])


async def test_hosts_named_in_the_request_win() -> None:
    async with mesh_of("kn1", "kn2") as (_, (kn1, kn2)):
        results = await kn1.hosts.run(Request("lab", Change(), ("kn2", "kn2")))
        assert [r.host for r in results] == ["kn2"]
        assert (kn1.done, kn2.done) == ([], ["count"])


async def test_an_error_travels_with_its_kind_and_hint() -> None:
    async with mesh_of("kn1", "kn2") as (_, (kn1, _kn2)):
        (result,) = await kn1.hosts.run(Request("lab", Say(fail=True), ("kn2",)))
        assert result == HostResult("kn2", Outcome.ERROR, error="not on kn2", hint="elsewhere", kind="InvalidState")


async def test_a_host_that_is_not_there_is_named() -> None:
    async with mesh_of("kn1", "kn2") as (_, (kn1, _kn2)):
        results = await kn1.hosts.run(Request("lab", Say(), ("kn2", "kn9")))
        assert _texts(results) == [("kn2", "done", "kn2 in lab"), ("kn9", "lost", 'node "kn9" is not in the mesh')]


async def test_answers_are_seen_while_another_host_works() -> None:
    async with mesh_of("kn1", "kn2", "kn3") as (_, (kn1, kn2, kn3)):
        kn1.go_on.set()
        kn2.go_on.set()
        seen: list[str] = []
        async for result in kn1.hosts.stream(Request("lab", Say(wait=True))):
            seen.append(result.host)
            if len(seen) == 2:
                assert "kn3" not in seen
                kn3.go_on.set()
        assert sorted(seen) == ["kn1", "kn2", "kn3"]


async def test_a_host_that_works_long_is_not_given_up() -> None:
    async with mesh_of("kn1", "kn2", silence_s=1.0) as (_, (kn1, kn2)):
        task = asyncio.create_task(kn1.hosts.run(Request("lab", Say(wait=True), ("kn2",))))
        done, _ = await asyncio.wait((task,), timeout=1.7)
        assert not done
        kn2.go_on.set()
        assert [r.outcome for r in await task] == [Outcome.DONE]


async def test_a_hung_host_is_named_at_the_deadline() -> None:
    async with mesh_of("kn1", "kn2", "kn3", silence_s=1.0) as (network, (kn1, *_others)):
        network.hanging.add("kn2")
        results = await kn1.hosts.run(Request("lab", Say()))
        assert _texts(results)[1] == ("kn2", "timed out", 'timed out: no sign of life from "kn2" for 1 s')
        assert [r.outcome for r in results] == [Outcome.DONE, Outcome.TIMED_OUT, Outcome.DONE]


async def test_a_host_lost_while_it_works_is_named_at_once() -> None:
    async with mesh_of("kn1", "kn2", "kn3") as (network, (kn1, kn2, kn3)):
        kn1.go_on.set()
        kn3.go_on.set()
        task = asyncio.create_task(kn1.hosts.run(Request("lab", Say(wait=True))))
        await kn2.begun.wait()
        network.crash("kn2")
        assert [(r.host, r.outcome) for r in await task] == [
            ("kn1", Outcome.DONE),
            ("kn2", Outcome.LOST),
            ("kn3", Outcome.DONE),
        ]


async def test_what_was_begun_goes_on_when_the_caller_is_gone() -> None:
    async with mesh_of("kn1", "kn2") as (network, (kn1, kn2)):
        task = asyncio.create_task(kn1.hosts.run(Request("lab", Say("late", wait=True), ("kn2",))))
        await kn2.begun.wait()
        network.crash("kn1")
        assert [r.outcome for r in await task] == [Outcome.LOST]
        kn2.go_on.set()
        async with asyncio.timeout(5):
            while kn2.done != ["late"]:
                await asyncio.sleep(0)


async def test_vm_targets_over_hosts() -> None:
    vms = {"kn1": ["a", "b"], "kn2": ["c"]}
    async with mesh_of("kn1", "kn2", "kn3", vms=vms) as (_, (kn1, kn2, _kn3)):
        assert _texts(await kn1.hosts.run(Request("lab", Touch(("c",))))) == [("kn2", "done", "")]
        assert _texts(await kn1.hosts.run(Request("lab", Touch(("z",))))) == [("kn1", "error", "vm not found: z")]
        assert _texts(await kn1.hosts.run(Request("lab", Touch(("b", "c", "z"))))) == [
            ("kn1", "done", "vm not found: z"),
            ("kn2", "done", ""),
        ]
        assert (kn1.done, kn2.done) == (["b"], ["c", "c"])


async def test_an_operation_the_other_does_not_know() -> None:
    async with mesh_of("kn1", "kn2") as (_, (kn1, _kn2)):
        (result,) = await kn1.hosts.run(Request("lab", Unheard(), ("kn2",)))
        assert (result.outcome, result.error, result.kind) == (
            Outcome.ERROR,
            "\"kn2\" does not understand the request: Invalid value 'Unheard' - at `$.type`",
            "InvalidInput",
        )


async def test_limits_hold_at_the_callee() -> None:
    roles = {"kn2": (Role.READ_ONLY, ""), "kn3": (Role.FULL, "lab")}
    async with mesh_of("kn1", "kn2", "kn3", roles=roles) as (_, (kn1, kn2, kn3)):

        async def ask(node_hosts: object, namespace: str, operation: Operation) -> str:
            hosts = {"kn2": kn2, "kn3": kn3}[str(node_hosts)].hosts
            (result,) = await hosts.run(Request(namespace, operation, ("kn1",)))
            return result.error or (result.answer or Answer()).text

        assert await ask("kn2", "lab", Say()) == "kn1 in lab"
        assert await ask("kn2", "lab", Change()) == 'node "kn2" may only read'
        assert await ask("kn3", "lab", Change()) == ""
        assert await ask("kn3", "other", Change()) == 'node "kn3" may not act in namespace "other"'
        assert await ask("kn3", "lab", Own()) == 'node "kn3" may only act within namespace "lab"'
        assert kn1.done == ["", "count"]


async def test_a_large_answer_arrives_whole() -> None:
    text = "line\n" * 1_000_000
    async with mesh_of("kn1", "kn2") as (_, (kn1, _kn2)):
        (result,) = await kn1.hosts.run(Request("lab", Say(text), ("kn2",)))
        assert result.answer is not None and result.answer.text == text
