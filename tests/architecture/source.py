"""The source as syntax trees, for the tests of its shape."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "megatools"
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of Python: its path, text and tree."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    def functions(self) -> Iterator[Function]:
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node

    def public_functions(self) -> Iterator[tuple[str, Function]]:
        """Functions of the module and methods of its classes whose names do not begin with an underscore."""
        holders: list[ast.Module | ast.ClassDef] = [self.tree]
        holders += [node for node in self.tree.body if isinstance(node, ast.ClassDef)]
        for holder in holders:
            prefix = f"{holder.name}." if isinstance(holder, ast.ClassDef) else ""
            if prefix.startswith("_"):
                continue
            for node in holder.body:
                if isinstance(node, Function) and not node.name.startswith("_"):
                    yield prefix + node.name, node


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the product."""
    return tuple(parsed(path) for path in sorted(SRC.rglob("*.py")))


@cache
def in_tests() -> tuple[Module, ...]:
    """Every module of the tests."""
    return tuple(parsed(path) for path in sorted((ROOT / "tests").rglob("*.py")))


def parsed(path: Path) -> Module:
    """One file."""
    text = path.read_text()
    return Module(path, text, ast.parse(text, str(path)))


def length(function: Function) -> int:
    """Lines of a function, decorators and docstring left out."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not body:
        return 1
    signature = function.body[0].lineno - function.lineno
    return max(1, signature) + (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def complexity(function: Function) -> int:
    """McCabe's number of a function's statements, as ruff counts it; nested functions count by themselves."""
    total, pending = 1, list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        if isinstance(node, (*Function.__args__, ast.Lambda, ast.ClassDef)):
            continue
        total += isinstance(node, _BRANCHES)
        total += isinstance(node, ast.match_case) and not _is_wildcard(node)
        pending.extend(ast.iter_child_nodes(node))
    return total


def _is_wildcard(case: ast.match_case) -> bool:
    return isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None and case.guard is None
