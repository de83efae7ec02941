"""What people and programs see: a bar on a terminal, plain lines, JSON, completion in shells, a shell in a tree."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megatools.hostkit import proc
from tests.integration.vmbetter.conftest import CONFIG, Workshop
from tests.support.images import REPOSITORY
from tests.support.requires import requires

pytestmark = [requires("mmdebstrap", "zstd", "unshare", "gpg", "dpkg-deb"), pytest.mark.root, pytest.mark.timeout(300)]


def on_a_terminal(words: list[str], directory: Path, typed: bytes = b"", until: bytes = b"") -> tuple[int, str]:
    """Run a program on a terminal of 100 columns; its status, and all that it wrote there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.environ.update(PYTHONPATH=str(REPOSITORY / "src"), TERM="xterm", COLUMNS="100", LINES="30")
        os.execvp(words[0], words)
    written, deadline = b"", time.monotonic() + 200
    try:
        while time.monotonic() < deadline:
            if typed and until in written:
                os.write(terminal, typed)
                typed = b""
            if select.select([terminal], [], [], 1)[0]:
                try:
                    block = os.read(terminal, 65536)
                except OSError:  # EIO: the program has ended
                    break
                if not block:
                    break
                written += block
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode(errors="replace")


def test_a_terminal_has_a_bar_with_stage_count_and_time(workshop: Workshop) -> None:
    workshop.config(CONFIG + "postbuild = `sleep 1`\n")
    words = workshop.words("--update", "--no-cache", "--rootfs-tar", "x.conf")
    status, written = on_a_terminal(words, workshop.directory)
    assert status == 0, written
    assert re.search(r"packages .*\d+/10 packages .*\d:\d\d:\d\d.*left", written)
    assert re.search(r"postbuild .*\d:\d\d:\d\d", written), "a step without a count shows that it is at work"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert "vmbetter: [" in plain
    assert "done: " in plain.splitlines()[-1]


def test_without_a_terminal_there_are_plain_lines(workshop: Workshop) -> None:
    workshop.config()
    done = workshop.build("--update", "--no-cache", "--rootfs-tar", "x.conf")
    lines = done.stderr.decode().splitlines()
    assert all(re.fullmatch(r"vmbetter: \[ *\d+\.\d s\] [a-z-]+: .+", line) for line in lines), lines
    assert done.stdout == b""
    quiet = workshop.build("-q", "--rootfs-tar", "x.conf")
    assert (quiet.stdout, quiet.stderr) == (b"", b"")


def test_programs_get_events_and_the_result(workshop: Workshop) -> None:
    workshop.config()
    done = workshop.build("--json", "--update", "--no-cache", "x.conf")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.stderr == b""
    assert {"step", "count", "output", "done", "result"} == {event["kind"] for event in events}
    counts = [event for event in events if event["kind"] == "count" and event["text"] == "packages"]
    assert [one["done"] for one in counts] == sorted(one["done"] for one in counts)
    assert counts[-1]["total"] == 10
    files = {suffix: str(workshop.directory / f"x.{suffix}") for suffix in ("kernel", "initrd")}
    assert events[-1]["files"] == files
    assert events[-1]["memory_mib"] > 0


def test_programs_get_errors_too(workshop: Workshop) -> None:
    workshop.config(CONFIG + "postbuild = `exit 3`")
    done = workshop.build("--json", "x.conf", check=False)
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["kind"], last["status"], done.status) == ("error", 8, 8)
    assert "ended with status 3" in last["text"]
    assert "vmbetter shell x.conf" in last["hint"]


def test_a_reader_that_goes_away_does_not_end_a_build(workshop: Workshop) -> None:
    workshop.config()
    words = workshop.words("--json", "--update", "--no-cache", "x.conf")
    environment = {**os.environ, **workshop.environment}
    with subprocess.Popen(words, cwd=workshop.directory, stdout=subprocess.PIPE, env=environment) as build:
        assert build.stdout is not None
        build.stdout.readline()
        build.stdout.close()
    assert (workshop.directory / "x.initrd").stat().st_size > 0


SCRIPT = """packages = "hello linux-image-toy"
postbuild = `
    set -e
    echo half > /half
    cp /etc/passwd /no/such/folder
    echo not reached`
"""


def test_a_failed_script_says_its_command_and_can_be_looked_at(workshop: Workshop) -> None:
    workshop.config(SCRIPT)
    done = workshop.build("x.conf", check=False)
    said = done.stderr.decode()
    assert done.status == 8
    assert 'postbuild at "x.conf:2:14" ended with status 1 in "cp /etc/passwd /no/such/folder" at line 5' in said
    assert "cp: can't create '/no/such/folder'" in said
    program = [sys.executable, "-m", "megatools.vmbetter.cli", "shell", "--cache", str(workshop.cache), "x.conf"]
    typed = b"cat /half; echo $((20 + 3)); ls /home 2>&1 | head -1; touch /mine; exit 9\n"
    status, written = on_a_terminal(["unshare", "--net", *program], workshop.directory, typed, b"# ")
    assert status == 9, written
    assert "the tree as it was left" in written
    assert "half\r\n23\r\n" in written
    status, written = on_a_terminal(program, workshop.directory, b"ls -d /mine; exit\n", b"# ")
    assert "\r\n/mine\r\n" in written, "what is changed stays for the next shell"
    workshop.config(SCRIPT.replace("/no/such/folder", "/etc/copy"))
    workshop.build("--rootfs-tar", "x.conf")
    assert workshop.file("half") == "half\n"
    names = subprocess.run(["tar", "-tf", workshop.directory / "x.tar"], check=True, capture_output=True).stdout
    assert b"./mine\n" not in names, "and is never built in"
    words = [*program[:4], *workshop.words()[5:], *program[4:]]
    status, written = on_a_terminal(words, workshop.directory, b"ls -d /mine /etc/copy; exit\n", b"# ")
    assert "the finished tree" in written
    assert "\r\n/etc/copy\r\n" in written
    assert "\r\n/mine\r\n" not in written


def test_nothing_is_taken_away_from_under_a_shell(workshop: Workshop) -> None:
    workshop.config(SCRIPT)
    workshop.build("x.conf", check=False)
    where = ["--cache", str(workshop.cache)]
    words = [sys.executable, "-m", "megatools.vmbetter.cli", "shell", *where, "x.conf"]
    environment = {**os.environ, **workshop.environment}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, cwd=workshop.directory, env=environment, **pipes) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(b"echo begun; echo mine > /mine\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == b"begun\n"
        second = workshop.run("shell", *where, "x.conf", check=False)
        assert (second.status, b"is open in the tree of" in second.stderr) == (5, True), second
        failing = workshop.build("x.conf", check=False)
        assert (failing.status, b"a shell is open in the tree" in failing.stderr) == (8, True), failing
        workshop.config(SCRIPT.replace("/no/such/folder", "/etc/copy"))
        workshop.build("x.conf")
        workshop.run("cache", "prune", "--all", *where)
        shell.stdin.write(b"cat /mine /half /usr/share/hello/text\n")
        shell.stdin.write(
            b"for number in 3 4 5 6 7 8 9; do test -d /proc/$$/fd/$number && echo a way out; done; exit 9\n"
        )
        shell.stdin.close()
        rest = shell.stdout.read().decode().splitlines()
    assert shell.returncode == 9
    assert rest == ["mine", "half", "hello of 1.0"]
    left = json.loads(workshop.run("cache", "prune", "--all", "--json", *where).stdout)
    assert {"failed", "unpacked"} <= {one["kind"] for one in left}


COMPLETED = [
    ("vmbetter ca", {"cache"}),
    ("vmbetter cache ", {"list", "prune"}),
    ("vmbetter cache prune --ol", {"--older-than"}),
    ("vmbetter completion ", {"bash", "zsh", "fish"}),
    ("vmbetter --engine ", {"mmdebstrap", "debootstrap"}),
    ("vmbetter m", {"mine.conf", "manifest", "more/"}),
    ("vmbetter shell more/", {"more/other.conf"}),
    ("vmbetter --comp", {"--components", "--compress"}),
]


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """A directory with configs, and an environment in which `vmbetter` is this tree's."""
    (tmp_path / "mine.conf").write_text("")
    (tmp_path / "mist.txt").write_text("")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/other.conf").write_text("")
    (tmp_path / "bin").mkdir()
    start = f'#!/bin/sh\nPYTHONPATH={REPOSITORY}/src exec {sys.executable} -m megatools.vmbetter.cli "$@"\n'
    (tmp_path / "bin/vmbetter").write_text(start)
    (tmp_path / "bin/vmbetter").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    for shell in ("bash", "zsh", "fish"):
        words = ["vmbetter", "completion", shell]
        done = subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, check=True)
        (tmp_path / f"completion.{shell}").write_bytes(done.stdout)
    return {"PATH": path, "HOME": str(tmp_path)}


@pytest.mark.parametrize(("line", "wanted"), COMPLETED)
def test_bash_completes(programs: dict[str, str], tmp_path: Path, line: str, wanted: set[str]) -> None:
    script = """source completion.bash
    read -ra COMP_WORDS <<< "$1"
    [[ $1 != *' ' ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _vmbetter vmbetter
    printf '%s\\n' "${COMPREPLY[@]}" """
    done = proc.run_sync(["bash", "-c", script, "bash", line], timeout_s=60, cwd=tmp_path, env=programs)
    assert set(done.text.split()) == wanted


@requires("fish")
@pytest.mark.parametrize(("line", "wanted"), COMPLETED[1:7:2])
def test_fish_completes(programs: dict[str, str], tmp_path: Path, line: str, wanted: set[str]) -> None:
    script = f'source completion.fish; complete --do-complete "{line}"'
    done = proc.run_sync(["fish", "--no-config", "-c", script], timeout_s=60, cwd=tmp_path, env=programs)
    assert {answer.split("\t")[0] for answer in done.text.splitlines()} == wanted


@requires("zsh")
def test_zsh_completes(programs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text("autoload -Uz compinit; compinit -u -D; source ~/completion.zsh; PS1='READY>'\n")
    words = ["env", *(f"{name}={value}" for name, value in programs.items()), "zsh", "-i"]
    _, written = on_a_terminal(words, tmp_path, b"vmbetter compl\tfi\t; exit\n", b"READY>")
    assert "\r\n# fish completion of vmbetter\r\n" in written, written
