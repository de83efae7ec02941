"""Command lines with holes, written by an administrator, filled in by a program and run without a shell. Pure.

A template is split into words first and filled in afterwards, so that no value can add a word. `{}` and `%s` stand for
the main value, `{name}` for any of them, `%%` for a percent sign.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from megatools.hostkit.errors import InvalidInput

_FIELD = re.compile(r"\{([a-z_]*)\}|%s|%%")


def filled(template: str, values: Mapping[str, str], main: str) -> list[str]:
    """The words of a command line; `main` names the value of `{}`.

    Raises InvalidInput for a malformed template, a value that is unknown or empty, or one that would read as an option.
    """
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise InvalidInput(f'the command template "{template}" is malformed') from error
    if not words:
        raise InvalidInput("the command template is empty")
    return [_filled_word(word, values, main, template) for word in words]


def _filled_word(word: str, values: Mapping[str, str], main: str, template: str) -> str:
    def value(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        field = found[1] or main
        if field not in values:
            known = ", ".join(f"{{{name}}}" for name in values)
            raise InvalidInput(f'"{{{field}}}" in "{template}" is unknown', hint=f"known are {known}")
        if not values[field]:
            raise InvalidInput(f'"{values[main]}" has no {field}, which the command "{template}" needs')
        if values[field].startswith("-") and found.start() == 0:
            raise InvalidInput(f'{field} "{values[field]}" would be read as an option of "{template}"')
        return values[field]

    return _FIELD.sub(value, word)
