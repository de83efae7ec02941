"""Lending a resolver to a tree: where links lead, whose files are left alone, what scripts change meanwhile."""

import os
from pathlib import Path

import pytest

from megatools.hostkit.bootstrap.resolver import Loan, lend, take_back

HOSTS = b"search example.org\nnameserver 192.0.2.53\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The tree's file, which is not there yet."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    return tmp_path / "etc/resolv.conf"


def test_a_link_into_run_gets_the_file_it_leads_to(file: Path, tmp_path: Path) -> None:
    file.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    assert lend(HOSTS, tmp_path) is None
    assert file.read_bytes() == HOSTS
    assert file.is_symlink()


def test_a_tree_without_one_has_one_for_the_time(file: Path, tmp_path: Path) -> None:
    loan = lend(HOSTS, tmp_path)
    assert loan is not None
    assert file.read_bytes() == HOSTS
    take_back(loan, tmp_path)
    assert not file.exists()


@pytest.mark.parametrize("own", [b"", b"nameserver 127.0.0.53\n", b"# none\nnameserver ::1\n"])
def test_one_that_names_the_machine_itself_is_replaced_for_the_time(file: Path, tmp_path: Path, own: bytes) -> None:
    (tmp_path / "usr").mkdir()
    real = tmp_path / "usr/resolv.conf"
    real.write_bytes(own)
    os.utime(real, ns=(5, 5))
    file.symlink_to("../usr/resolv.conf")
    loan = lend(HOSTS, tmp_path)
    assert loan is not None
    assert file.read_bytes() == HOSTS
    take_back(loan, tmp_path)
    assert (real.read_bytes(), real.stat().st_mtime_ns) == (own, 5)


def test_a_resolver_of_the_trees_own_is_left_alone(file: Path, tmp_path: Path) -> None:
    own = b"# the cluster's\n  nameserver 10.0.0.1\nnameserver 127.0.0.1\n"
    file.write_bytes(own)
    assert lend(HOSTS, tmp_path) is None
    assert file.read_bytes() == own


def test_what_a_script_makes_of_it_stays(file: Path, tmp_path: Path) -> None:
    loan = lend(HOSTS, tmp_path)
    assert loan is not None
    with file.open("ab") as stream:
        stream.write(b"options edns0\n")
    take_back(loan, tmp_path)
    assert file.read_bytes() == b"options edns0\n"
    file.write_bytes(b"nameserver 10.0.0.1\n")
    take_back(loan, tmp_path)
    assert file.read_bytes() == b"nameserver 10.0.0.1\n"
    file.unlink()
    file.symlink_to("../run/resolv.conf")
    (tmp_path / "run/resolv.conf").write_bytes(HOSTS)
    take_back(loan, tmp_path)
    assert file.is_symlink()
    file.unlink()
    take_back(loan, tmp_path)
    assert not file.exists()


@pytest.mark.parametrize("leads_to", ["resolv.conf", "../no/such/folder/file", "../proc/resolver", "../run"])
def test_what_leads_nowhere_is_left_alone(file: Path, tmp_path: Path, leads_to: str) -> None:
    file.symlink_to(leads_to)
    assert lend(HOSTS, tmp_path) is None
    assert str(file.readlink()) == leads_to


def test_a_host_without_one_leaves_the_same_tree(file: Path, tmp_path: Path) -> None:
    loan = lend(b"", tmp_path)
    assert loan == Loan("etc/resolv.conf", b"")
    take_back(loan, tmp_path)
    assert not file.exists()
