"""Help and completion (spec B.8)."""

from pathlib import Path

import pytest

from tests.unit.minimega.lang.language import Language


def test_help_lists_every_pattern_sorted() -> None:
    lines = Language().text(".annotate false help").splitlines()
    assert lines[0] == "Display help on a command. Here is a list of commands:"
    patterns = [line.split(" : ")[0].rstrip() for line in lines[1:]]
    assert patterns == sorted(patterns)
    assert "vm start <vm target>" in patterns
    assert ".csv <true,false> (command)" in patterns
    assert all(line.split(" : ", 1)[1].strip() for line in lines[1:])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("vm start", "Usage:\n\tvm start <vm target>\n\nStart virtual machines"),
        ("vm inf", "Usage:\n\tvm info [summary]\n\nAll of them."),
        ("namespace", "Usage:\n\tnamespace [name]\n\tnamespace <name> (command)\n\nChoose a namespace"),
        ("echo", "Usage:\n\techo [words]...\n\nPrint the words after expansion, without a comment"),
    ],
)
def test_help_of_one_command(words: str, text: str) -> None:
    assert Language().text(f".annotate false help {words}") == text


def test_when_one_of_several_has_long_help_the_usages_are_merged_with_it() -> None:
    assert Language().text(".annotate false help vm").splitlines() == [
        "Usage:",
        "\tvm info [summary]",
        "\tvm start <vm target>",
        "\tvm config memory [value]",
        "\tvm config append [value]...",
        "",
        "All of them.",
    ]


def test_several_commands_are_listed() -> None:
    lines = Language().text(".annotate false help .").splitlines()
    assert len(lines) > 10
    assert all(line.startswith(".") and " : " in line for line in lines)


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("vm ", ["config ", "info ", "start "]),
        ("vm i", ["info "]),
        ("v", ["vm "]),
        ("vm config ", ["append ", "memory "]),
        ("vm info ", ["summary "]),
        ("vm start ", ["all ", "db ", '"two words" ', "web "]),
        ("vm start w", ["web "]),
        ("v s w", ["web "]),
        (".csv true vm s", ["start "]),
        (".filter a=b .csv ", ["false ", "true "]),
        ("namespace foo vm start d", ["db "]),
        ("echo $N", ["$NAME "]),
        ("vm start x ", []),
        ("nonsense ", []),
        ("vm # ", []),
        ("h", ["help ", "history "]),
    ],
)
def test_completion(line: str, candidates: list[str]) -> None:
    assert Language().suggest(line) == candidates


def test_aliases_complete_and_expand() -> None:
    language = Language()
    language.outputs(".alias vmr=vm start")
    assert language.suggest("vmr") == ["vmr "]
    assert language.suggest("vm") == ["vm ", "vmr "]
    assert language.suggest("vmr w") == ["web "]


def test_files_complete(tmp_path: Path) -> None:
    (tmp_path / "disk.qcow2").write_text("")
    (tmp_path / "saved").mkdir()
    language = Language(tmp_path)
    assert language.suggest("read ") == ["disk.qcow2 ", "saved/"]
    assert language.suggest("read d") == ["disk.qcow2 "]
    assert language.suggest(f"read {tmp_path}/s") == [f"{tmp_path}/saved/"]
    assert language.suggest("echo file:d") == ["file:disk.qcow2 "]
    assert language.suggest("vm start d") == ["db "]
    assert language.suggest(f"read {tmp_path}/none/x") == []
