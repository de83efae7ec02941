"""Whether another architecture's programs run here, as binfmt_misc's files say it."""

from pathlib import Path

import pytest

from megatools.hostkit.bootstrap import emulation
from megatools.hostkit.errors import InvalidInput, NotFound

ENTRY = "{state}\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: {flags}\noffset 0\nmagic 7f454c46\n"


def register(folder: Path, state: str, flags: str) -> Path:
    (folder / "qemu-aarch64").write_text(ENTRY.format(state=state, flags=flags))
    return folder


def test_the_hosts_own_and_what_it_runs_too_need_nothing(tmp_path: Path) -> None:
    emulation.check("amd64", native="amd64", registered=tmp_path)
    emulation.check("i386", native="amd64", registered=tmp_path)


def test_a_registered_one_runs_when_it_works_in_any_tree(tmp_path: Path) -> None:
    emulation.check("arm64", native="amd64", registered=register(tmp_path, "enabled", "POCF"))


@pytest.mark.parametrize(("state", "flags"), [("disabled", "POCF"), ("enabled", "PO")])
def test_one_that_is_off_or_works_in_this_hosts_tree_only_is_refused(state: str, flags: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match='programs for "arm64" cannot run') as raised:
        emulation.check("arm64", native="amd64", registered=register(tmp_path, state, flags))
    assert "with the flag F" in raised.value.hint


def test_an_absent_one_is_told_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match='programs for "mips64el" cannot run') as raised:
        emulation.check("mips64el", native="amd64", registered=tmp_path)
    assert "qemu-user-static" in raised.value.hint or "update-binfmts" in raised.value.hint


def test_an_unknown_one_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match='architecture "vax" is unknown'):
        emulation.check("vax", native="amd64", registered=tmp_path)
