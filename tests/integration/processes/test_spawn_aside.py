"""Programs started beside the event loop: what they inherit, how they end, what is left when the start is cancelled."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from megatools.hostkit import proc
from megatools.hostkit.errors import NotFound

SHELL = "/bin/sh"


async def start(script: str, output: int, *pass_fds: int) -> tuple[proc.Child, list[int]]:
    seen: list[int] = []
    child = await proc.spawn_aside([SHELL, "-c", script], output=output, pass_fds=pass_fds, then=seen.append)
    return child, seen


def run(script: str, tmp_path: Path, *pass_fds: int) -> tuple[int | None, str]:
    async def main() -> int | None:
        with (tmp_path / "out").open("wb") as out:
            child, seen = await start(script, out.fileno(), *pass_fds)
        assert seen == [child.pid]
        return await child.wait(timeout_s=20)

    status = asyncio.run(main())
    return status, (tmp_path / "out").read_text()


def test_output_status_and_signals(tmp_path: Path) -> None:
    assert run("echo out; echo err >&2; exit 3", tmp_path) == (3, "out\nerr\n")
    assert run("kill -9 $$", tmp_path) == (-9, "")


def test_it_gets_the_descriptors_it_was_given_and_no_others(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        status, out = run("ls /proc/$$/fd", tmp_path, writing)
    finally:
        os.close(reading)
        os.close(writing)
    mine = {0, 1, 2, writing}
    assert status == 0 and {int(name) for name in out.split()} - {10} == mine  # the shell may keep 10 for itself


def test_a_session_of_its_own_default_signals_and_an_empty_input(tmp_path: Path) -> None:
    status, out = run(
        "read line; echo \"[$line]\"; sed -n 's/^SigIgn://p' /proc/$$/status; cat /proc/$$/stat", tmp_path
    )
    line, ignored, stat = out.splitlines()
    pid, session = stat.split()[0], stat.split()[5]
    assert (status, line, session) == (0, "[]", pid)
    assert not int(ignored, 16) & 1 << (signal.SIGPIPE - 1)


def test_an_absent_program_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        with (tmp_path / "out").open("wb") as out:
            await proc.spawn_aside(["/no/such"], output=out.fileno(), pass_fds=(), then=lambda _pid: None)

    with pytest.raises(NotFound, match='program "/no/such" is not on this host'):
        asyncio.run(main())


def test_a_cancelled_start_leaves_no_process(tmp_path: Path) -> None:
    async def main() -> int:
        pids: list[int] = []
        with (tmp_path / "out").open("wb") as out:
            words = [SHELL, "-c", "sleep 100"]
            task = asyncio.create_task(proc.spawn_aside(words, output=out.fileno(), pass_fds=(), then=pids.append))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return pids[0]

    assert proc.start_ticks(asyncio.run(main())) is None


def test_a_child_is_reaped_once_and_not_signalled_after(tmp_path: Path) -> None:
    async def main() -> None:
        with (tmp_path / "out").open("wb") as out:
            child, _ = await start("exit 0", out.fileno())
        assert await child.wait(timeout_s=20) == 0
        assert child.poll() == 0
        child.signal(signal.SIGKILL)

    asyncio.run(main())
