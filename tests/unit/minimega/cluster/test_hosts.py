"""The local host answers requests: one result each, errors with their kind and hint."""

from __future__ import annotations

import pytest

from megatools.hostkit.errors import NotFound
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import HostResult, Operation, Outcome, Request

pytestmark = pytest.mark.anyio


class Ask(Operation, frozen=True):
    """Answer with the namespace, or fail as told."""

    fail: str = ""


async def _ask(namespace: str, asked: Ask) -> Answer:
    if asked.fail == "known":
        raise NotFound('no "thing"', hint="look elsewhere")
    if asked.fail:
        raise ValueError("a bug")
    return Answer(namespace)


async def test_an_answer_is_done() -> None:
    hosts = LocalHosts("kn1", {Ask: _ask})
    assert await hosts.run(Request("lab", Ask())) == [HostResult("kn1", Outcome.DONE, Answer("lab"))]


async def test_an_error_keeps_its_kind_and_hint() -> None:
    (result,) = await LocalHosts("kn1", {Ask: _ask}).run(Request("lab", Ask("known")))
    assert (result.outcome, result.kind, result.error, result.hint) == (
        Outcome.ERROR,
        "NotFound",
        'no "thing"',
        "look elsewhere",
    )
    assert result.error_text == 'no "thing"\nhint: look elsewhere'


async def test_a_bug_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    (result,) = await LocalHosts("kn1", {Ask: _ask}).run(Request("lab", Ask("bug")))
    assert (result.kind, result.error_text) == ("ValueError", "internal error: ValueError('a bug')")
    assert "a bug" in caplog.text
