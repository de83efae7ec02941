"""Durations in Go's notation, and sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.units import format_bytes, format_duration, parse_bytes, parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1s", 1),
        ("1m3.2s", 63.2),
        ("2h45m", 9900),
        ("150ms", 0.15),
        ("-1.5h", -5400),
        ("1us", 1e-6),
        (".5s", 0.5),
    ],
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "1x", "s", "1s ", "--1s", "1.2.3s", "-"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_duration_s(text)
    assert f'"{text}"' in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (63.2, "1m3.2s"),
        (0.0015, "1.5ms"),
        (3600, "1h0m0s"),
        (-1, "-1s"),
        (0.01, "10ms"),
        (1.05, "1.05s"),
        (2e-9, "2ns"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_durations_round_trip(microseconds: int) -> None:
    seconds = microseconds / 1e6
    assert parse_duration_s(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("512M", 512 << 20), ("10G", 10 << 30), ("1.5 GiB", 3 << 29), ("4kB", 4096), ("7B", 7)]
)
def test_parse_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


def test_a_bare_number_counts_the_default_unit_and_bytes_stay_bytes() -> None:
    assert parse_bytes("3", default_unit="M") == 3 << 20
    assert parse_bytes("3B", default_unit="M") == 3


@pytest.mark.parametrize("text", ["", "M", "-1", "1X", "1e3", "0.3"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_bytes(text)


@pytest.mark.parametrize(("size", "text"), [(512, "512 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB")])
def test_format_bytes(size: int, text: str) -> None:
    assert format_bytes(size) == text
