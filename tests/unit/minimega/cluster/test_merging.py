"""VM targets over hosts: what is shown of what the hosts said."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from megatools.minimega.cluster.merging import TargetMerge, merged
from megatools.minimega.lang.answer import Answer, Table
from megatools.minimega.lang.operation import HostResult, Outcome
from megatools.minimega.vm.targets import VmNotFound


def _done(host: str, *missing: str, text: str = "") -> HostResult:
    return HostResult(host, Outcome.DONE, Answer(text, missing=missing), missing=missing)


def _none(host: str, *missing: str) -> HostResult:
    error = VmNotFound(missing)
    return HostResult(host, Outcome.ERROR, error=error.message, hint=error.hint, kind="VmNotFound", missing=missing)


def _refused(host: str, text: str, *missing: str) -> HostResult:
    return HostResult(host, Outcome.ERROR, error=text, kind="VmsRefused", missing=missing)


def _shown(results: Sequence[HostResult]) -> list[tuple[str, str]]:
    return [(result.host, result.answer.text if result.answer else f"! {result.error_text}") for result in results]


def test_not_found_is_dropped_when_another_host_has_the_vm() -> None:
    assert _shown(merged([_none("kn1", "web"), _done("kn2"), _none("kn3", "web")])) == [("kn2", "")]


def test_not_found_is_dropped_when_another_host_failed_otherwise() -> None:
    assert _shown(merged([_none("kn1", "web"), _refused("kn2", "vm is already running")])) == [
        ("kn2", "! vm is already running")
    ]


def test_one_error_remains_when_nobody_has_it() -> None:
    assert _shown(merged([_none("kn1", "web"), _none("kn2", "web")])) == [
        ("kn1", "! vm not found: web\nhint: `vm info` lists them")
    ]


def test_a_list_spread_over_hosts_is_complete() -> None:
    assert _shown(merged([_done("kn1", "b"), _done("kn2", "a")])) == [("kn1", ""), ("kn2", "")]


def test_only_words_found_nowhere_are_reported() -> None:
    shown = _shown(merged([_done("kn1", "b", "c", text="well"), _done("kn2", "a", "c"), _none("kn3", "a", "b", "c")]))
    assert shown == [("kn1", "well\nvm not found: c"), ("kn2", "")]


def test_a_refusal_tells_what_was_not_found() -> None:
    assert _shown(merged([_refused("kn1", "a: vm is already running", "c")])) == [
        ("kn1", "! a: vm is already running\nvm not found: c")
    ]


def test_beside_a_table_the_words_stay_words() -> None:
    answer = Answer(table=Table(("name",), (("a",),)), missing=("c",))
    (result,) = merged([HostResult("kn1", Outcome.DONE, answer, missing=("c",))])
    assert result.answer is not None and result.answer.missing == ("c",)


def test_a_lost_host_is_named_and_hides_what_was_not_found() -> None:
    lost = HostResult("kn2", Outcome.LOST, error="lost")
    assert _shown(merged([_none("kn1", "a"), lost])) == [("kn2", "! lost")]


def test_certain_results_are_shown_at_once() -> None:
    merge = TargetMerge(["kn1", "kn2", "kn3"])
    assert merge.take(_done("kn1", "b")) == []
    assert _shown(merge.take(_done("kn2", "a"))) == [("kn1", ""), ("kn2", "")]
    assert merge.take(_none("kn3", "a", "b")) == []
    assert merge.rest() == []


_WORDS = ("a", "b", "c")


@st.composite
def _results(draw: st.DrawFn) -> list[HostResult]:
    results: list[HostResult] = []
    for number in range(draw(st.integers(1, 5))):
        host = f"kn{number}"
        here = draw(st.frozensets(st.sampled_from(_WORDS)))
        missing = tuple(word for word in _WORDS if word not in here)
        kind = draw(st.sampled_from(("ok", "refused", "lost")))
        if kind == "lost":
            results.append(HostResult(host, Outcome.LOST, error="lost"))
        elif not here:
            results.append(_none(host, *missing))
        else:
            results.append(_done(host, *missing) if kind == "ok" else _refused(host, "no", *missing))
    return results


@given(_results())
def test_whatever_the_hosts_say(results: list[HostResult]) -> None:
    told = [result for result in results if result.outcome is not Outcome.LOST]
    nowhere = [word for word in _WORDS if told and all(word in result.missing for result in told)]
    shown = merged(results)
    text = "\n".join(part for _, part in _shown(shown))
    reported = [word for word in _WORDS if f"vm not found: {word}" in text]
    real = [result for result in results if result.kind != "VmNotFound"]
    assert sorted(result.host for result in shown) == sorted(result.host for result in (real or results[:1]))
    hidden = bool(real) and all(result.outcome is Outcome.LOST for result in real)
    assert reported == ([] if hidden else nowhere)
