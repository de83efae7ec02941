"""What several hosts said about the VMs of one target, made into one answer (spec B.10, B.11, D.12): pure.

A host that has none of the VMs answers "vm not found". That counts only when every host says so: then one of them
stands for all. A word of the target is reported only when it names a VM on no host. Used by `hosts` and `fanout`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from megatools.minimega.lang.operation import HostResult, Outcome
from megatools.minimega.vm.targets import VmNotFound, not_found_text

_NOT_FOUND = VmNotFound.__name__


class TargetMerge:
    """Takes the hosts' results as they come and gives back those that can be shown; `order` is that of the hosts."""

    def __init__(self, order: Sequence[str]) -> None:
        self._place = {host: place for place, host in enumerate(order)}
        self._held: list[HostResult] = []
        self._missing: list[str] | None = None  # the words that name nothing on any host that answered
        self._found = False  # whether some host did or failed otherwise

    def take(self, result: HostResult) -> list[HostResult]:
        """One more result; returns those that are certain by now."""
        self._found = self._found or not _is_not_found(result)
        if result.outcome in (Outcome.DONE, Outcome.ERROR):
            here = set(result.missing)
            known = result.missing if self._missing is None else self._missing
            self._missing = [word for word in known if word in here]
        if not result.missing:
            return [result, *(self._release([]) if self._found and not self._missing else [])]
        self._held.append(result)
        return self._release([]) if self._found and not self._missing else []

    def rest(self) -> list[HostResult]:
        """All have answered: what is left to show."""
        if not self._found:
            self._held = sorted(self._held, key=self._at)[:1]
        return self._release(self._missing or [])

    def _release(self, missing: Sequence[str]) -> list[HostResult]:
        """Show what is held; the first of those that did something tells which words named no VM anywhere."""
        kept = [held for held in self._held if not (self._found and _is_not_found(held))]
        self._held = []
        done = [held for held in kept if held.outcome is Outcome.DONE]
        teller = min(done or kept, key=self._at, default=None)
        return [_telling(held, missing if held is teller else ()) for held in kept]

    def _at(self, result: HostResult) -> int:
        return self._place.get(result.host, len(self._place))


def merged(results: Sequence[HostResult]) -> list[HostResult]:
    """The answer to a VM target from the results of all hosts, in order."""
    merge = TargetMerge([result.host for result in results])
    return [shown for result in results for shown in merge.take(result)] + merge.rest()


def _is_not_found(result: HostResult) -> bool:
    return result.outcome is Outcome.ERROR and result.kind == _NOT_FOUND


def _telling(result: HostResult, missing: Sequence[str]) -> HostResult:
    """The result with a line for each missing word; beside a table they stay words, for who renders it."""
    lines = not_found_text(missing)
    if result.answer is None:
        own = "" if _is_not_found(result) else result.error
        error = "\n".join(text for text in (own, lines) if text)
        return msgspec.structs.replace(result, error=error, missing=())
    answer = result.answer
    if answer.table is None:
        answer = msgspec.structs.replace(
            answer, text="\n".join(text for text in (answer.text, lines) if text), missing=()
        )
    else:
        answer = msgspec.structs.replace(answer, missing=tuple(missing))
    return msgspec.structs.replace(result, answer=answer, missing=())
