"""Scripts (spec B.10, D.23)."""

from pathlib import Path

import pytest

from megatools.minimega.lang.script import MAX_LINE_BYTES
from tests.unit.minimega.lang.language import Language


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "test.mm"
    path.write_text(text)
    return str(path)


def test_lines_run_in_order_and_are_recorded(tmp_path: Path) -> None:
    language = Language()
    outputs = language.text("read " + script(tmp_path, "# first\nvm start a\n\n  vm start b # last\r\n"))
    assert outputs == "\n"
    assert language.log == ["start a in minimega", "start b in minimega"]
    assert language.history == ["# first", "vm start a", "vm start b # last"]


def test_a_failing_command_is_reported_and_the_script_goes_on(tmp_path: Path) -> None:
    language = Language()
    path = script(tmp_path, "vm start broken\nvm start b\n")
    assert language.errors(f"read {path}") == ["test.mm:1 vm 'broken' is broken\nhint: mend it"]
    assert language.log == ["start broken in minimega", "start b in minimega"]


def test_stop_on_error(tmp_path: Path) -> None:
    language = Language()
    path = script(tmp_path, "vm start a\nvm start broken\nvm start b\n")
    assert language.errors(f"read {path} stop-on-error") == ["test.mm:2 vm 'broken' is broken\nhint: mend it"]
    assert language.log == ["start a in minimega", "start broken in minimega"]


def test_a_line_that_does_not_compile_ends_the_script(tmp_path: Path) -> None:
    language = Language()
    path = script(tmp_path, "vm start a\nvm sart b\nvm start c\n")
    assert language.errors(f"read {path}") == ["test.mm:2 invalid command: `vm sart b`\nhint: did you mean `vm start`?"]
    assert language.log == ["start a in minimega"]


def test_check_runs_nothing_and_tells_every_mistake(tmp_path: Path) -> None:
    language = Language()
    path = script(tmp_path, "vm start a\nnonsense\n# x\necho 'open\n")
    (error,) = language.errors(f"read {path} check")
    assert error.splitlines()[0] == "test.mm:2 invalid command: `nonsense`"
    assert "test.mm:4 missing terminal '" in error
    assert language.log == []
    assert language.outputs("read " + script(tmp_path, "vm start a\n") + " check") == []


def test_a_namespace_line_holds_for_the_rest_of_the_script_only(tmp_path: Path) -> None:
    language = Language()
    path = script(tmp_path, "vm start a\nnamespace bar\nvm start b\n")
    language.outputs(f"namespace foo read {path}")
    assert language.log == ["start a in foo", "start b in bar"]
    assert language.session.namespace == "minimega"


def test_scripts_do_not_nest(tmp_path: Path) -> None:
    inner = tmp_path / "inner.mm"
    inner.write_text("vm start a\n")
    language = Language()
    for line in (f"read {inner}", f".csv true read {inner}"):
        path = script(tmp_path, f"{line}\n")
        assert language.errors(f"read {path}") == ["test.mm:1 cannot run nested `read` commands"]
    assert language.log == []


def test_aliases_do_not_expand(tmp_path: Path) -> None:
    language = Language()
    language.outputs(".alias greet=echo hello")
    assert language.errors("read " + script(tmp_path, "greet\n"))[0].startswith("test.mm:1 invalid command: `greet`")


def test_modifiers_of_a_line_and_of_the_whole_script(tmp_path: Path) -> None:
    language = Language()
    path = script(tmp_path, ".annotate false data\ndata\n.csv true vm info\nvm info summary\n")
    assert language.text(f"read {path}").splitlines() == [
        "text",
        "kn1: text",
        "host,id,name,state",
        "kn1,9,db,PAUSED",
        "kn1,10,web,RUNNING",
        "host | id | name",
        "kn1  | 9  | db",
        "kn1  | 10 | web",
    ]
    assert language.text(f".annotate false read {script(tmp_path, 'data')}") == "text"
    language.outputs("read " + script(tmp_path, ".annotate false\n"))
    assert language.text("data") == "text"


def test_filters_apply_to_every_line(tmp_path: Path) -> None:
    path = script(tmp_path, "vm info\ndata\n")
    assert (
        Language().text(f".filter name=db .annotate false read {path}")
        == "id   | name | state\n9    | db   | PAUSED\ntext"
    )


def test_long_lines_are_fine_up_to_a_limit(tmp_path: Path) -> None:
    long = "x" * 200_000
    assert Language().text("read " + script(tmp_path, f"echo {long}\n")) == f"kn1: {long}"
    too_long = "echo " + "x" * MAX_LINE_BYTES
    (error,) = Language().errors("read " + script(tmp_path, f"data\n{too_long}\n"))
    assert error == f"test.mm:2 line has {len(too_long)} bytes, the limit is {MAX_LINE_BYTES}"


@pytest.mark.parametrize("name", ["gone.mm", ".", "file.mm/x"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.mm").write_text("")
    (error,) = Language().errors(f"read {tmp_path / name}")
    assert str(tmp_path / name) in error
    assert "internal" not in error


def test_binary_scripts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.mm"
    path.write_bytes(b"data\n\xff\xfe\n")
    assert Language().errors(f"read {path}") == ["test.mm:2 line is not UTF-8 text"]


def test_write_and_read_again(tmp_path: Path) -> None:
    language = Language()
    for line in ("vm start a", "vm start 'b c' # why"):
        language.outputs(line)
    language.outputs(f"write {tmp_path}/history.mm")
    assert (tmp_path / "history.mm").read_text() == "vm start a\nvm start 'b c' # why"
    other = Language()
    other.outputs(f"read {tmp_path}/history.mm")
    assert other.log == language.log
    (error,) = language.errors(f"write {tmp_path}/gone/history.mm")
    assert error.startswith(f"directory '{tmp_path}/gone' does not exist\nhint: ")
    assert language.errors(f"write {tmp_path}") == [f"cannot write '{tmp_path}', it is a directory\nhint: name a file"]
