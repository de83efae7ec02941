"""A stand-in for the modern commands the classic words are translated to: it notes every line and answers tables.

The language around it is the real one: registry, matcher, interpreter.
"""

from __future__ import annotations

import asyncio

from megatools.minimega.commands.classic.families import families
from megatools.minimega.lang.answer import Group, Response
from megatools.minimega.lang.builtins import builtins
from megatools.minimega.lang.call import Call, Session
from megatools.minimega.lang.interpreter import Interpreter, Output
from megatools.minimega.lang.registry import Family, Registry

HOST = "kn1"
WORDS = (
    "vm config", "vm launch", "vm start", "vm stop", "vm kill", "vm flush", "vm info", "clear vm config", "tap",
    "bridge", "dnsmasq start", "log level", "log stderr", "log file", "clear log", "host",
)  # fmt: skip


class Modern:
    """Runs lines; `lines` holds the modern ones they became, `tables` what the modern ones answer."""

    def __init__(self, tables: dict[str, tuple[list[str], list[list[str]]]] | None = None) -> None:
        self.lines: list[str] = []
        self.tables = tables or {}
        self.texts: dict[str, str] = {}
        family: Family[object] = Family("modern", "Stand-in")
        for words in WORDS:
            family.add((f"{words} [words]...",), self._handler(words), "stand-in")
        family.add(("dnsmasq", "dnsmasq kill <id>"), self._handler("dnsmasq"), "stand-in")
        self.interpreter = Interpreter(Registry([builtins(), family, *families()]), None, host=HOST)  # type: ignore[list-item]

    def _handler(self, words: str):
        async def handler(call: Call[object], **arguments: object) -> Group:
            rest = arguments.get("words") or ()
            rest = rest or (("kill", str(arguments["id"])) if "id" in arguments else ())
            line = " ".join((words, *(repr(word) if " " in word else word for word in rest)))
            self.lines.append(line)
            if line in self.tables:
                header, rows = self.tables[line]
                return [Response(HOST, header=header, tabular=rows)]
            return [Response(HOST, self.texts.get(line, ""))]

        return handler

    def outputs(self, line: str) -> list[Output]:
        async def run() -> list[Output]:
            return [output async for output in self.interpreter.execute(line, Session(source="socket"))]

        return asyncio.run(run())

    def text(self, line: str) -> str:
        return "\n".join(output.rendered for output in self.outputs(line) if output.rendered)

    def errors(self, line: str) -> list[str]:
        return [response.error for output in self.outputs(line) for response in output.group or () if response.error]
