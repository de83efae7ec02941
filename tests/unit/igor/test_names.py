"""Nodes, clusters, names and igor.conf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.igor.model import config, nodes
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.host import hex_name
from megatools.igor.model.names import checked_args, checked_name

_CLUSTER = Cluster("kn", 1, 520, 8, 5)
_DOCUMENT = """
        {
                "tftproot" : "/tftpboot/",
                "prefix" : "kn",
                "start" : 1,
                "end" : 520,
                "rackwidth" : 8,
                "rackheight" : 5
        }
"""
_NUMBERS = st.sets(st.integers(0, 300))


@given(_NUMBERS)
def test_node_sets_round_trip(numbers: set[int]) -> None:
    chosen = nodes.of(numbers)
    assert list(chosen) == sorted(numbers)
    assert len(chosen) == len(numbers)
    assert nodes.from_text(chosen.text()) == chosen
    assert nodes.from_mask(chosen.mask(0), 0) == chosen
    assert nodes.from_mask(nodes.of(n + 7 for n in numbers).mask(7), 7) == nodes.of(n + 7 for n in numbers)


@given(_NUMBERS, _NUMBERS)
def test_node_sets_are_sets(left: set[int], right: set[int]) -> None:
    assert set(nodes.of(left) | nodes.of(right)) == left | right
    assert set(nodes.of(left) - nodes.of(right)) == left - right
    assert set(nodes.of(left) & nodes.of(right)) == left & right


@given(st.sets(st.integers(1, 520), min_size=1), st.sampled_from([0, 3, 5]))
def test_what_a_cluster_writes_it_reads(numbers: set[int], padlen: int) -> None:
    cluster = Cluster("kn", 1, 520, 8, 5, padlen)
    chosen = nodes.of(numbers)
    assert cluster.parse(cluster.written(chosen)) == chosen


def test_nodes_are_written_as_in_the_document() -> None:
    assert _CLUSTER.written(_CLUSTER.parse("kn[1-10]")) == "kn[1-10]"
    assert _CLUSTER.written(_CLUSTER.parse("kn5")) == "kn5"
    assert _CLUSTER.parse("1-3,7").text() == "1-3,7"
    assert Cluster("c", 1, 20, 1, 1, 3).written(nodes.of([1, 2, 20])) == "c[001-002,020]"


@pytest.mark.parametrize("text", ["kn0", "kn521", "xx1", "kn", "kn01x", "kn[500-521]", "kn99999999999999999999"])
def test_unknown_nodes_are_named(text: str) -> None:
    with pytest.raises(NotFound, match="is not a node of this cluster"):
        _CLUSTER.parse(text)


@pytest.mark.parametrize("text", ["", "kn[3-1]", "kn[", "kn[1-2]x", "kn[a-b]", ","])
def test_bad_ranges_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        _CLUSTER.parse(text)


@pytest.mark.parametrize("name", ["", ".x", "a/b", "../x", "-r", "a b", "a\nb", "x" * 65, "ä"])
def test_names_that_could_be_paths_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked_name(name)


def test_arguments_cannot_smuggle_lines() -> None:
    assert checked_args(" console=ttyS0 quiet ") == "console=ttyS0 quiet"
    with pytest.raises(InvalidInput, match="one line"):
        checked_args("quiet\nlabel evil")
    with pytest.raises(InvalidInput, match="limit is 2048"):
        checked_args("x" * 3000)


def test_pxelinux_names() -> None:
    assert hex_name("10.0.0.91") == "0A00005B"
    with pytest.raises(InvalidInput):
        hex_name("::1")


def test_the_documents_configuration() -> None:
    found = config.parse(_DOCUMENT)
    assert (found.tftproot, found.cluster) == ("/tftpboot/", _CLUSTER)
    assert found.goodfaith
    assert found.default_hours == 12


def test_comments_commas_and_any_case() -> None:
    text = _DOCUMENT.replace("5\n", "5, // the last one\n").replace('"prefix"', '/* , } */ "PREFIX"') + "# end\n"
    assert config.parse(text) == config.parse(_DOCUMENT)
    slashes = _DOCUMENT.replace("/tftpboot/", "/tftp//boot#1,}")
    assert config.parse(slashes).tftproot == "/tftp//boot#1,}"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"start" : 1', '"start" : "1"', "start"),
        ('"start" : 1', '"start" : 600', "start is 600 and end is 520"),
        ('"rackwidth" : 8', '"rackwidth" : 0', "rackwidth is 0"),
        ('"/tftpboot/"', '"tftpboot"', "absolute"),
        ('"prefix" : "kn"', '"prefix" : "k/n"', "prefix"),
        ('"prefix"', '"prefixes"', "prefixes"),
        ('"end" : 520', '"end" : 99999999', "limit is 100000"),
        ("{", "[", "not JSON"),
    ],
)
def test_wrong_configurations_say_what_is_wrong(before: str, after: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=r"igor\.conf") as caught:
        config.parse(_DOCUMENT.replace(before, after, 1))
    assert said in str(caught.value)


def test_limits_of_igor_2() -> None:
    extra = _DOCUMENT.replace('"end"', '"nodelimit": 16, "timelimit": 600, "extendwithin": 30, "end"')
    limits = config.parse(extra).limits.limits
    assert (limits.nodes, limits.duration_s, limits.scaled, limits.extend_within_s) == (16, 36000, True, 1800)
