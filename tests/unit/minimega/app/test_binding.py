"""The generator of the Python binding: which methods come out of a description, and that the module is Python."""

from __future__ import annotations

import ast

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.app.binding import decode, methods, module
from megatools.minimega.commands.classic.families import families
from megatools.minimega.lang.builtins import builtins
from megatools.minimega.lang.registry import Family, Registry


async def _nothing(_call: object, **_arguments: object) -> None:
    """Does nothing."""


def description(*patterns: str) -> bytes:
    family: Family[object] = Family("test", "Test")
    for pattern in patterns:
        family.add((pattern,), _nothing, 'does "nothing"')
    return Registry([family]).api()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("vm info [summary,]", ["vm_info"]),
        ("vm launch <kvm,container> <name or count>", ["vm_launch_container", "vm_launch_kvm"]),
        ("vm config qemu-append [words]...", ["vm_config_qemu_append"]),
        (".filter <filter> (command)", ["filter"]),
        ("clear all", ["clear_all"]),
        ("namespace <name>", ["namespace_"]),
        ("import <x>", ["import_"]),
    ],
)
def test_names(pattern, names):
    assert [method.name for method in methods(decode(description(pattern)))] == names


def test_the_module_of_the_whole_language_is_python_with_a_method_per_command():
    registry = Registry([builtins(), *families()])
    tree = ast.parse(module(registry.api()))
    (binding,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "minimega"]
    names = [node.name for node in binding.body if isinstance(node, ast.FunctionDef)]
    assert {"vm_launch", "host_tap", "read", "clear_history", "command", "namespace"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("garbage", [b"", b"{}", b"[1]", b"\xff"])
def test_garbage_is_refused(garbage):
    with pytest.raises(InvalidInput, match="no description"):
        module(garbage)
