"""What a user who waits for a launch is told about images on their way."""

from megatools.minimega.cluster.arrivals import arrivals_text
from megatools.minimega.files.library import TransferRow
from megatools.minimega.lang.answer import Answer, rows_table
from megatools.minimega.lang.operation import HostResult, Outcome


def _host(name: str, *files: str) -> HostResult:
    rows = [TransferRow(file, "/tmp/x", "3/16", queued=False) for file in files]
    return HostResult(name, Outcome.DONE, Answer(table=rows_table(TransferRow, rows)))


def test_hosts_and_their_files_are_named() -> None:
    lost = HostResult("kn3", Outcome.LOST)
    assert arrivals_text([_host("kn1"), _host("kn2", "a.img"), lost]) == "fetching images: kn2 a.img 3/16"


def test_long_lists_are_cut() -> None:
    text = arrivals_text([_host("kn1", *(f"{number}.img" for number in range(6)))])
    assert text.endswith("kn1 3.img 3/16, and 2 more")


def test_nothing_is_told_when_nothing_comes() -> None:
    assert arrivals_text([_host("kn1"), HostResult("kn2", Outcome.TIMED_OUT)]) == ""
