"""The guard of tests/unit/conftest.py works."""

import asyncio
import os

import pytest

from megatools.hostkit import proc


def test_processes_are_refused() -> None:
    with pytest.raises(pytest.fail.Exception, match="must not start a process"):
        proc.spawn(["true"])
    with pytest.raises(pytest.fail.Exception, match="must not start a process"):
        asyncio.run(proc.run(["true"], timeout_s=1))
    with pytest.raises(pytest.fail.Exception, match="must not start a process"):
        os.system("true")
