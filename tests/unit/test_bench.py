"""Which benchmarks a name stands for."""

from bench.__main__ import benchmarks, with_parts


def test_cluster_measures_all_of_its_promises_and_nothing_twice() -> None:
    assert with_parts(["cluster"]) == ["cluster", "files", "simulate"]
    everything = with_parts(benchmarks())
    assert sorted(everything) == sorted(benchmarks())
