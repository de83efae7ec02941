"""Checks that a handler's parameters fit its patterns; run at import, so that a mistake never reaches a user (R3)."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.lang.call import Argument, Invocation
from megatools.minimega.lang.pattern import Item, Kind, Pattern, parameter


class BadHandler(InvalidInput):
    """A handler does not fit its patterns: a mistake in the program, found when it is imported."""


_TYPES: dict[object, str] = {
    str: "str",
    str | None: "str|None",
    tuple[str, ...]: "tuple[str,...]",
    bool: "bool",
    Invocation: "Invocation",
    Invocation | None: "Invocation|None",
}
_FIT = {
    Kind.STRING: ("str", "str|None"),
    Kind.LIST: ("tuple[str,...]",),
    Kind.CHOICE: ("bool",),
    Kind.COMMAND: ("Invocation", "Invocation|None"),
}
_ABSENT: dict[str, Argument | None] = {"str|None": None, "tuple[str,...]": (), "bool": False, "Invocation|None": None}


def check_handler(handler: Callable[..., object], patterns: Sequence[Pattern]) -> Mapping[str, Argument | None]:
    """What to pass for parameters that have no default when a line leaves them out; raises `BadHandler`."""
    name = getattr(handler, "__qualname__", repr(handler))
    taken = _parameters(handler, name)
    if taken is None:
        return {}
    kinds = _kinds(patterns, name)
    for one in taken:
        if one not in kinds:
            raise BadHandler(f"handler '{name}' takes '{one}', which none of its patterns holds")
    absent: dict[str, Argument | None] = {}
    for key, kind in kinds.items():
        if key not in taken:
            raise BadHandler(f"handler '{name}' does not take '{key}' of pattern '{patterns[0]}'")
        annotation = _annotation(handler, taken[key], name, kind)
        if taken[key].default is not inspect.Parameter.empty:
            continue
        if annotation in _ABSENT:
            absent[key] = _ABSENT[annotation]
        elif not _always_there(key, patterns):
            raise BadHandler(f"parameter '{key}' of handler '{name}' needs a default: some pattern leaves it out")
    return absent


def _parameters(handler: Callable[..., object], name: str) -> dict[str, inspect.Parameter] | None:
    """The parameters after the call; None when it takes whatever comes (`**arguments`)."""
    if not inspect.iscoroutinefunction(handler) and not inspect.isasyncgenfunction(handler):
        raise BadHandler(f"handler '{name}' is not an async function")
    parameters = list(inspect.signature(handler).parameters.values())
    if not parameters or parameters[0].kind not in (parameters[0].POSITIONAL_ONLY, parameters[0].POSITIONAL_OR_KEYWORD):
        raise BadHandler(f"handler '{name}' takes no call")
    if parameters[-1].kind is inspect.Parameter.VAR_KEYWORD:
        return None
    return {one.name: one for one in parameters[1:]}


def _kinds(patterns: Sequence[Pattern], name: str) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for pattern in patterns:
        for item in pattern.items:
            kind = Kind(item.kind & ~Kind.OPTIONAL)
            for key in _keys(item):
                if kinds.setdefault(key, kind) != kind:
                    raise BadHandler(f"'{key}' means different things in the patterns of handler '{name}'")
    return kinds


def _keys(item: Item) -> tuple[str, ...]:
    if item.kind & Kind.LITERAL:
        return ()
    return tuple(parameter(key) for key in (item.options or (item.key,)))


def _always_there(key: str, patterns: Sequence[Pattern]) -> bool:
    return all(any(not item.optional and key in _keys(item) for item in pattern.items) for pattern in patterns)


def _annotation(handler: Callable[..., object], taken: inspect.Parameter, name: str, kind: Kind) -> str:
    """The parameter's type as text, when it fits the kind of item."""
    annotation = _type_text(handler, taken, name)
    if annotation not in _FIT[kind]:
        raise BadHandler(f"parameter '{taken.name}' of handler '{name}' is '{annotation}', not '{_FIT[kind][0]}'")
    return annotation


def _type_text(handler: Callable[..., object], taken: inspect.Parameter, name: str) -> str:
    """Annotations are strings in most modules, and cheap to compare as such."""
    if isinstance(taken.annotation, str):
        text = taken.annotation.replace(" ", "")
        if text in _TYPES.values():
            return text
    try:
        hint: object = typing.get_type_hints(handler).get(taken.name)
    except NameError as error:
        raise BadHandler(f"annotation of '{taken.name}' of handler '{name}' cannot be resolved") from error
    return _TYPES.get(hint, str(hint))
