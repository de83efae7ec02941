"""The shape of the code: the rules of CONTRIBUTING.md that a machine can check."""

import ast

import pytest

from tests.architecture.source import ROOT, SRC, complexity, in_tests, length, modules, parsed

_MAX_LINES, _MAX_FUNCTION, _MAX_COMPLEXITY = 400, 60, 10
_STARTERS = (SRC / "hostkit" / "proc.py", SRC / "hostkit" / "posix_spawn.py")  # the second is a part of the first
_FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}


def test_there_is_something_to_check() -> None:
    assert len(modules()) > 20
    assert len(in_tests()) > 5


def test_files_are_short() -> None:
    long = [f"{m.name}: {n} lines" for m in modules() if (n := len(m.text.splitlines())) >= _MAX_LINES]
    assert not long, f"limit {_MAX_LINES}: {long}"


def test_functions_are_short() -> None:
    long = [
        f"{m.name}:{f.lineno} {f.name}: {length(f)} lines"
        for m in modules()
        for f in m.functions()
        if length(f) >= _MAX_FUNCTION
    ]
    assert not long, f"limit {_MAX_FUNCTION}: {long}"


def test_functions_are_simple() -> None:
    tangled = [
        f"{m.name}:{f.lineno} {f.name}: {complexity(f)}"
        for m in modules()
        for f in m.functions()
        if complexity(f) >= _MAX_COMPLEXITY
    ]
    assert not tangled, f"limit {_MAX_COMPLEXITY}: {tangled}"


def test_complexity_counts_branches() -> None:
    tree = ast.parse(
        "def f(a):\n if a:\n  for b in a: pass\n match a:\n  case 1: pass\n  case _: pass\n return a if a else 1"
    )
    assert isinstance(tree.body[0], ast.FunctionDef)
    assert complexity(tree.body[0]) == 4


def test_module_names_say_what_is_inside() -> None:
    vague = [m.name for m in modules() if _FORBIDDEN_NAMES & {*m.path.relative_to(SRC).with_suffix("").parts}]
    assert not vague


def test_every_module_opens_with_its_purpose() -> None:
    silent = [m.name for m in (*modules(), *in_tests()) if not ast.get_docstring(m.tree)]
    assert not silent


def test_package_files_do_no_work() -> None:
    working: list[str] = []
    for m in modules():
        if m.path.name != "__init__.py":
            continue
        for node in m.tree.body:
            named = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            constant = named and node.targets[0].id in ("__all__", "__version__")  # type: ignore[attr-defined]
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not (docstring or constant or isinstance(node, ast.Import | ast.ImportFrom)):
                working.append(f"{m.name}:{node.lineno}")
    assert not working


def test_public_signatures_have_no_any() -> None:
    vague: list[str] = []
    for m in modules():
        for name, function in m.public_functions():
            arguments = function.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            hints = [a.annotation for a in every if a is not None and a.annotation is not None]
            hints += [function.returns] if function.returns is not None else []
            if any(isinstance(node, ast.Name) and node.id == "Any" for hint in hints for node in ast.walk(hint)):
                vague.append(f"{m.name}:{function.lineno} {name}")
    assert not vague


def test_only_hostkit_proc_can_start_a_process() -> None:
    starters = {"subprocess", "pty", "multiprocessing"}
    guilty: list[str] = []
    for m in modules():
        if m.path in _STARTERS:
            continue
        for node in ast.walk(m.tree):
            match node:
                case ast.Import(names=names) if starters & {alias.name.partition(".")[0] for alias in names}:
                    guilty.append(f"{m.name}:{node.lineno}")
                case ast.ImportFrom(module=str(source)) if (
                    source.partition(".")[0] in starters or "posix_spawn" in source
                ):
                    guilty.append(f"{m.name}:{node.lineno}")
                case ast.Attribute(attr=attr) if attr.startswith(
                    ("create_subprocess", "posix_spawn", "execv", "execl")
                ):
                    guilty.append(f"{m.name}:{node.lineno}")
                case _:
                    pass
    assert not guilty


def test_nothing_is_swallowed() -> None:
    """No bare `except:`, and no `except Exception: pass`."""
    guilty = [
        f"{m.name}:{node.lineno}"
        for m in modules()
        for node in ast.walk(m.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (_is_broad(node.type) and all(isinstance(step, ast.Pass) for step in node.body)))
    ]
    assert not guilty


def _is_broad(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")


def test_unit_tests_do_not_sleep() -> None:
    sleepers: list[str] = []
    for m in in_tests():
        if "unit" not in m.path.relative_to(ROOT).parts:
            continue
        for node in ast.walk(m.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep":
                zero = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
                if not zero:
                    sleepers.append(f"{m.name}:{node.lineno}")
    assert not sleepers


@pytest.mark.parametrize("name", ["bench/__main__.py", "bench/promise.py"])
def test_benchmarks_are_documented_too(name: str) -> None:
    assert ast.get_docstring(parsed(ROOT / name).tree)
