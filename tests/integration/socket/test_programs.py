"""The programs that speak to the command socket: thin client, `-attach` without a terminal, generated binding."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from megatools.minimega.app import binding
from tests.integration.socket.daemon import Daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("daemon") / "minimega") as running:
        yield running


def minimega(daemon, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-m", "megatools.minimega.app.main", "-base", str(daemon.path.parent), *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["-e", "say", "hi"], "kn1: hi\n"),
        (["-e", "say hi"], "kn1: hi\n"),
        (["-e", "say", "two words"], "kn1: two words\n"),
        (["-e", "say", 'a"b\\c#d'], 'kn1: a"b\\c#d\n'),
        (["-e", "say", ""], ""),
        (["-e", "many", "3"], "kn1: 0\nkn1: 1\nkn1: 2\n"),
        (["-e", ".annotate", "false", "table"], "name | size\na    | 1\nb    | 2\n"),
        (["-e", "big", "1000000"], "kn1: " + "x" * 1000000 + "\n"),
    ],
)
def test_the_client_prints_what_the_daemon_answers(daemon, words, output):
    done = minimega(daemon, *words)
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


def test_errors_go_to_standard_error_with_a_status(daemon):
    done = minimega(daemon, "-e", "fail", "x")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == 'Error (kn1): no "x"\nhint: try another\n'


def test_progress_goes_to_standard_error(daemon):
    done = minimega(daemon, "-e", "progress", "half")
    assert (done.stdout, done.stderr, done.returncode) == ("kn1: done\n", "half\n", 0)


def test_no_daemon_is_said_with_a_hint(tmp_path):
    command = [sys.executable, "-I", "-m", "megatools.minimega.app.main", "-base", str(tmp_path), "-e", "version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no daemon is running there\nhint: start one with: minimega" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_flag_is_refused(daemon):
    done = minimega(daemon, "-nosuch")
    assert done.returncode == 2
    assert 'flag provided but not defined: "-nosuch"' in done.stderr


def test_a_reader_that_leaves_is_no_error(daemon):
    command = [
        sys.executable,
        "-I",
        "-m",
        "megatools.minimega.app.main",
        "-base",
        str(daemon.path.parent),
        "-e",
        "big 9000000",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(10)
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 0


def test_the_client_loads_little(daemon):
    script = (
        "import sys; before = set(sys.modules)\n"
        f"sys.argv = ['minimega', '-base', {str(daemon.path.parent)!r}, '-e', 'say', 'hi']\n"
        "from megatools.minimega.app.main import main\n"
        "main()\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    foreign = [name for name in loaded if name.split(".")[0] not in (*sys.stdlib_module_names, "megatools")]
    assert foreign == []
    assert not {"asyncio", "dataclasses", "argparse", "logging", "subprocess", "pathlib"} & set(loaded)
    ours = {name for name in loaded if name.startswith("megatools.")}
    assert ours <= {
        "megatools.minimega", "megatools.minimega.app", "megatools.minimega.app.client", "megatools.minimega.app.flags",
        "megatools.minimega.app.main", "megatools.minimega.lang", "megatools.minimega.lang.quote",
    }  # fmt: skip


def test_attached_without_a_terminal_lines_are_run_and_the_status_tells(daemon):
    done = minimega(daemon, "-attach", stdin="say one\n\n# nothing\nfail x\nsay two\ndisconnect\nsay never\n")
    assert done.stdout == "kn1: one\nkn1: two\n"
    assert done.stderr == 'Error (kn1): no "x"\nhint: try another\n'
    assert done.returncode == 1


@pytest.fixture(scope="module")
def generated(daemon, tmp_path_factory):
    path = tmp_path_factory.mktemp("binding") / "minimega_binding.py"
    path.write_text(binding.module(daemon.registry.api()))
    spec = importlib.util.spec_from_file_location("minimega_binding", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_binding_drives_the_daemon(daemon, generated, capsys):
    with generated.connect(str(daemon.path), timeout=20) as mm:
        assert mm.say("two words")[0][0]["Response"] == "two words"
        assert len(mm.many(3)) == 3
        generated.print_rows(mm.table())
        assert capsys.readouterr().out == "host | name | size\nkn1  | a    | 1\nkn1  | b    | 2\n"
        with pytest.raises(generated.Error, match='no "x"'):
            mm.fail("x")
        assert mm.say(3)[0][0]["Response"] == "3"
        assert mm.suggest("sa") == ["say "]
        assert [json.dumps(group[0]["Response"]) for group in mm.stream("many 2")] == ['"0"', '"1"']
    with generated.connect(str(daemon.path), raise_errors=False) as mm:
        assert mm.fail("x")[0][0]["Error"].startswith('no "x"')
        with mm.namespace("other"):
            assert mm.here()[0][0]["Error"].startswith("invalid command: `namespace other here`")
    with pytest.raises(generated.Error, match="cannot connect"):
        generated.connect("/nonexistent/socket")
