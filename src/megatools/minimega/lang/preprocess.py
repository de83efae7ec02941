"""What happens to arguments before a command runs: `$VAR` expansion, then file prefixes. Source: spec B.4."""

from __future__ import annotations

import re
from collections.abc import Mapping

from megatools.minimega.lang.call import Argument
from megatools.minimega.lang.fetch import Fetcher, is_url

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^{}]*)\})", re.ASCII)


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """The text with `$NAME` and `${NAME}` replaced; an unset variable is empty."""
    if "$" not in text:
        return text
    return _VARIABLE.sub(lambda match: environment.get(match.group(1) or match.group(2) or "", ""), text)


async def preprocess_text(text: str, environment: Mapping[str, str], fetcher: Fetcher) -> str:
    """One value, expanded and fetched; raises what the fetcher raises."""
    expanded = expand_variables(text, environment)
    return await fetcher.fetch(expanded) if is_url(expanded) else expanded


async def preprocess_arguments(
    arguments: Mapping[str, Argument], environment: Mapping[str, str], fetcher: Fetcher
) -> dict[str, Argument]:
    """Every string and list argument preprocessed; nested commands are, when they run."""
    done: dict[str, Argument] = {}
    for key, value in arguments.items():
        if isinstance(value, str):
            done[key] = await preprocess_text(value, environment, fetcher)
        elif isinstance(value, tuple):
            done[key] = tuple([await preprocess_text(item, environment, fetcher) for item in value])
        else:
            done[key] = value
    return done
