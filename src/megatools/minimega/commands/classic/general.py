"""Classic words that concern the program and its host: `log_level`, `host_stats`, `rate` (spec A.2).

The words both vocabularies share (`help`, `history`, `read`, `version`, `check`, `quit`) are modern commands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.commands.classic.table import (
    Arguments,
    Row,
    Special,
    answers,
    cells,
    fill,
    make_family,
    text,
    word,
)
from megatools.minimega.commands.services import Cmd


def _no_rate(arguments: Arguments) -> str:
    value = word(arguments, "ms")
    if not value.isdigit():
        raise InvalidInput(f'invalid rate "{value}"', hint="a number of milliseconds; it has no effect any more")
    return ""


def _log_file(arguments: Arguments) -> str:
    return "clear log file" if word(arguments, "file") == "false" else fill("log file {file}", arguments)


def _no_log_level(_arguments: Arguments) -> str:
    raise InvalidInput("the log level cannot be cleared", hint="log_level error")


async def _rate(_call: Cmd, _arguments: Arguments) -> AsyncIterator[str]:
    yield "0s"


async def _has_log_file(call: Cmd, _arguments: Arguments) -> AsyncIterator[str]:
    yield "true" if text(await answers(call, "log file")) else "false"


async def _host_stats(call: Cmd, arguments: Arguments) -> AsyncIterator[str]:
    for row in cells(await answers(call, "host")):
        load = row["load"].split()
        bandwidth = f"{float(row['rx']) + float(row['tx']):.1f}"
        if word(arguments, "quiet"):
            yield " ".join((row["host"], *load, row["memtotal"], row["memused"], bandwidth))
        else:
            yield (
                f"hostname:\t{row['host']}\tload average:\t{' '.join(load)}\tmemtotal:\t{row['memtotal']} MB\t"
                f"memused:\t{row['memused']} MB\tbandwidth:\t{bandwidth} (MB/s)"
            )


ROWS: tuple[Row | Special, ...] = (
    Special("host_stats", _host_stats, "print load, memory and bandwidth of this host"),
    Special("host_stats <quiet>", _host_stats, "the same without labels"),
    Row("log_level [level]", "log level {level}", "print or set the log level: debug, info, warn, error or fatal"),
    Row("clear log_level", _no_log_level, "an error: there is always a level"),
    Row("log_stderr [true or false]", "log stderr {true}", "print or set whether the log goes to standard error"),
    Row("clear log_stderr", "log stderr false", "stop logging to standard error"),
    Special("log_file", _has_log_file, "print whether the log goes to a file"),
    Row("log_file <file>", _log_file, "log to a file; `false` stops that"),
    Row("clear log_file", "clear log file", "stop logging to a file"),
    Special("rate", _rate, "print the delay between launches: there is none"),
    Row("rate <ms>", _no_rate, "accepted, without effect: launching needs no delay"),
    Row("clear rate", lambda _arguments: "", "accepted, without effect"),
)
family = make_family("classic general", "Classic words: the program and its host", ROWS)
