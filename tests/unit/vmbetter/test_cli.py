"""The command line: the document's form, the original's spellings, and commands beside it; nothing is built."""

import errno
import json
import sys
from pathlib import Path

import pytest

from megatools.vmbetter.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = 0
    try:
        main(list(words))
    except SystemExit as end:
        status = int(end.code or 0)
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_new_config_is_whole_and_is_never_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "init", "mine")[0] == 0
    status, out, _ = run(capsys, "-dry-run=true", "mine.conf", "--json")
    assert status == 0
    assert "linux-image-amd64" in [package["value"] for package in json.loads(out)["packages"]]
    status, _, err = run(capsys, "init", "mine.conf")
    assert (status, err) == (4, 'vmbetter: "mine.conf" is there already\n')


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["no.conf"], 3, 'no config "no.conf"'),
        (["-1", "-2", ".", "x.conf"], 2, "-1 and -2 exclude each other"),
        (["--compress", "rar", "x.conf"], 2, 'compression "rar" is unknown'),
        (["--size", "1G", "x.conf"], 2, "a size or a format is that of a disk"),
        (["--append", "quiet", "x.conf"], 2, "words for the kernel are those of a disk or an ISO image"),
        (["--disk", "--append", 'a "b', "x.conf"], 2, "a quote has no end in the words for the kernel"),
        (["--disk", "--append", "a\nb", "x.conf"], 2, "words for the kernel must be on one line"),
        (["--disk", "--compress", "xz", "x.conf"], 2, "a compression is that of an initrd"),
        (["--boot-marker", "up", "x.conf"], 2, "a marker is looked for in a boot test only"),
        (["--boot-test", "--rootfs-tar", "x.conf"], 2, "none of the results can be booted"),
        (["--boot-test", "--architecture", "arm64", "x.conf"], 2, 'images for "arm64" cannot be booted here'),
        (["init", "a b"], 2, '"a b" is no name for an image'),
        (["init", "$(reboot)"], 2, '"$(reboot)" is no name for an image'),
        (["x" * 300], 3, 'no config "xxx'),
        (["x" * 300 + ".conf"], 3, 'no config "xxx'),
        (["-O", "a/b", "x.conf"], 2, 'output name "a/b" must not contain "/"'),
        (["--debootstrap-append"], 2, "No such option"),
        ([], 2, "Missing argument 'CONFIG'"),
        (["cache", "prune", "--all", "--keep", "1G"], 2, "--all leaves nothing"),
        (["manifest", "x.conf"], 3, "no manifest beside"),
    ],
)
def test_what_is_wrong_is_said_with_a_status(
    words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("x.conf").write_text("")
    told = run(capsys, *words)
    assert told[0] == status
    assert message in told[2]
    assert [path.name for path in Path().iterdir()] == ["x.conf"]


def test_constraints_follow_the_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.conf").write_text('// +build arm64\npackages = "b"\n// +build !amd64\npackages = "c"')
    assert '"c"' not in run(capsys, "--dry-run", "--json", "x.conf")[1]
    out = run(capsys, "--architecture", "arm64", "--dry-run", "--json", "x.conf")[1]
    assert [package["value"] for package in json.loads(out)["packages"]] == ["b", "c"]


def test_a_dry_run_shows_where_each_entry_is_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Path("over").mkdir()
    Path("sub").mkdir()
    Path("sub/parent.conf").write_text('\npackages = "less"\n')
    Path("x.conf").write_text('parents = "sub/parent.conf"\npackages = "vim"\noverlay = "over"\npostbuild = `true`\n')
    status, out, err = run(capsys, "--dry-run", "x.conf")
    assert (status, err) == (0, "")
    for line in (
        "  less  # sub/parent.conf:2:13", "  vim   # x.conf:2:13", f"  {tmp_path}/over  # x.conf:3:12",
        "  # x.conf:4:14", "  | true",
    ):  # fmt: skip
        assert f"{line}\n" in out
    told = json.loads(run(capsys, "--dry-run", "--json", "x.conf")[1])
    assert told["files"] == ["x.conf", "sub/parent.conf"]
    assert [(one["value"], one["origin"]) for one in told["packages"]] == [
        ("less", {"path": "sub/parent.conf", "line": 2, "column": 13}),
        ("vim", {"path": "x.conf", "line": 2, "column": 13}),
    ]
    assert told["overlays"][0]["origin"] == {"path": "x.conf", "line": 3, "column": 12}
    assert told["postbuilds"][0] == {"value": "true", "origin": {"path": "x.conf", "line": 4, "column": 14}}


def test_a_mistyped_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "manifst", "x.initrd")[0::2] == (
        2,
        'vmbetter: "manifst" is no command, nor a config\nhint: did you mean "manifest"?\n',
    )
    Path("manifst").write_text("packages = 1")
    assert "manifst:1:12: unexpected character" in run(capsys, "manifst")[2]


def test_the_cache_is_listed_and_pruned_by_age_and_size(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "c/packages/key"
    folder.mkdir(parents=True)
    (folder / "f").write_bytes(b"x" * 100_000)
    (tmp_path / "c/debs").mkdir()
    (tmp_path / "c/debs/1.deb").write_bytes(b"x" * 5000)
    out = run(capsys, "cache", "list", "--cache", "c")[1]
    assert "packages  key" in out
    assert "1 Debian packages" in out
    assert "removed 0 entries" in run(capsys, "cache", "prune", "--cache", "c")[1]
    assert "removed 1 entries" in run(capsys, "cache", "prune", "--cache", "c", "--keep", "50K")[1]
    assert run(capsys, "cache", "prune", "--cache", "c", "--all")[1].startswith("removed 1 entries")
    assert "packages  key" not in run(capsys, "cache", "list", "--cache", "c")[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_the_program(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"_VMBETTER_COMPLETE={shell}_complete" in run(capsys, "completion", shell)[1].replace(" fish", "=fish")


def test_completion_knows_commands_options_and_configs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("cool.conf").write_text("")
    Path("cool.txt").write_text("")
    Path(".hidden.conf").write_text("")
    monkeypatch.setenv("_VMBETTER_COMPLETE", "bash_complete")
    for words, wanted in (
        ("vmbetter co", ["plain,cool.conf", "plain,completion"]),
        ("vmbetter cache prune --k", ["plain,--keep"]),
        ("vmbetter shell ", ["plain,cool.conf"]),
        ("vmbetter --branch trixie --rootf", ["plain,--rootfs", "plain,--rootfs-tar"]),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        assert run(capsys)[1].split() == wanted
    monkeypatch.setenv("_VMBETTER_COMPLETE", "ksh_complete")
    assert run(capsys)[0] == 2


def test_what_was_pruned_is_told_to_programs_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c/debs").mkdir(parents=True)
    (tmp_path / "c/debs/1.deb").write_bytes(b"x" * 5000)
    removed = json.loads(run(capsys, "cache", "prune", "--cache", "c", "--all", "--json")[1])
    assert [(one["kind"], one["key"]) for one in removed] == [("debs", "1.deb")]
    assert json.loads(run(capsys, "cache", "list", "--cache", "c", "--json")[1]) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EIO, "Input/output error", "/x/y"), 'vmbetter: cannot use "/x/y": input/output error\n'),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "refused something: no space left on device\nhint: free some",
        ),
    ],
)
def test_what_nobody_has_explained_is_one_line(
    error: OSError, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sys.modules["megatools.vmbetter.cli.main"], "build", fails)
    status, _, said = run(capsys, "x.conf")
    assert (status, told in said) == (7, True), said
