"""Which hierarchies are used, and what happens where groups cannot be made."""

from pathlib import Path

from megatools.hostkit.cgroups import Cgroups, hierarchies

HYBRID = """proc /proc proc rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
"""


def test_the_unified_and_the_named_hierarchy_are_used() -> None:
    assert hierarchies(HYBRID) == [Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified")]
    assert hierarchies("proc /proc proc rw 0 0\n") == []


def test_a_process_goes_into_its_own_group_below_the_owner(tmp_path: Path) -> None:
    groups = Cgroups("base1", [tmp_path])
    groups.add("u1", 42)
    assert (tmp_path / "megatools/base1/u1/cgroup.procs").read_text() == "42"


def test_groups_that_cannot_be_made_are_given_up(tmp_path: Path) -> None:
    (tmp_path / "megatools").write_text("not a directory")
    groups = Cgroups("base1", [tmp_path])
    groups.add("u1", 42)
    groups.add("u2", 42)
    groups.remove("u1")
    assert (tmp_path / "megatools").read_text() == "not a directory"


def test_empty_groups_are_removed(tmp_path: Path) -> None:
    groups = Cgroups("base1", [tmp_path])
    for name in ("u1", "u2"):
        (tmp_path / "megatools/base1" / name).mkdir(parents=True)
    groups.remove("u1")
    assert not (tmp_path / "megatools/base1/u1").exists()
    assert (tmp_path / "megatools/base1").exists()  # the other one is still there
    groups.remove("u2")
    assert not (tmp_path / "megatools/base1").exists()
