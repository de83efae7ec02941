"""What a test needs from the machine: `@requires("qemu-system-x86_64", "ovs-vsctl")`, `@pytest.mark.root`.

An absent program is a skip on a laptop and a failure where CI is set (tests/conftest.py decides).
"""

import os

import pytest

from megatools.hostkit import proc


def requires(*programs: str) -> pytest.MarkDecorator:
    """Mark a test, a class, or (as `pytestmark`) a whole file."""
    return pytest.mark.requires(*programs)


def missing(item: pytest.Item) -> list[str]:
    """What a test is marked to need and this machine or user lacks."""
    lacking = [
        f'the program "{program}"'
        for mark in item.iter_markers("requires")
        for program in mark.args
        if proc.which(program) is None
    ]
    if item.get_closest_marker("root") is not None and os.geteuid() != 0:
        lacking.append("root")
    return sorted(set(lacking))
