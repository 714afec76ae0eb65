"""Durations and sizes as people write them, there and back, and the bounds of settings."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.units import (
    Bounds,
    format_duration,
    format_size,
    parse_duration,
    parse_exact,
    parse_size,
)

DURATIONS = {
    "250ms": 0.25, "90s": 90.0, "5m": 300.0, "2h": 7200.0, "7d": 604_800.0, "1.5h": 5400.0,
    "0s": 0.0, "30": 30.0, " 10 s ": 10.0,
}  # fmt: skip
SIZES = {
    "0B": 0, "512B": 512, "64KB": 64_000, "256MB": 256_000_000, "1GB": 10**9, "1KiB": 1024,
    "2MiB": 2 * 2**20, "1GiB": 2**30, "1.5KB": 1500, "4096": 4096,
}  # fmt: skip
NOT_NUMBERS: list[Any] = [
    "", "s", "five minutes", "-5s", "5 5s", "5s5s", "1e3s", "1,5h", ".5h", "5.", "\u0665s", "inf",
    True, False, None, [], math.nan, math.inf, -math.inf, -1, -0.5,
]  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items())
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert type(parse_size(text)) is int


def test_a_bare_number_is_seconds_or_bytes() -> None:
    assert (parse_duration(90), parse_duration(0.5), parse_duration(0)) == (90.0, 0.5, 0.0)
    assert (parse_size(4096), parse_size(0)) == (4096, 0)


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
def test_anything_else_is_refused_with_the_accepted_forms(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 250ms, 90s, 5m, 2h or 7d"):
        parse_duration(value)
    with pytest.raises(ValueError, match="expected a size such as 64KB, 256MB or 1GiB"):
        parse_size(value)


def test_a_number_beyond_all_numbers_is_none() -> None:
    for parse in (parse_duration, parse_size):
        with pytest.raises(ValueError, match="too large"):
            parse("9" * 400)


@pytest.mark.parametrize("text", ["5M", "5min", "5sec", "5S", "1w", "64MB"])
def test_a_duration_has_one_spelling_of_each_unit(text: str) -> None:
    with pytest.raises(ValueError, match=f"got '{text}'"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["64mb", "64M", "64kb", "1TB", "1gib", "5m"])
def test_a_size_has_one_spelling_of_each_unit(text: str) -> None:
    with pytest.raises(ValueError, match=f"got '{text}'"):
        parse_size(text)


SPELLINGS = {
    7200.0: "2h", 90.0: "90s", 0.25: "250ms", 86_400.0: "1d", 120.0: "2m", 60.0: "60s",
    3600.0: "1h", 5400.0: "90m", 1.5: "1500ms",
    0.0: "0s", 1e-7: "0.0000001s",
}  # fmt: skip


@pytest.mark.parametrize(("seconds", "text"), SPELLINGS.items())
def test_a_duration_is_written_as_people_write_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    {256_000_000: "256MB", 10**9: "1GB", 64_000: "64KB", 1024: "1024B", 0: "0B", 1: "1B"}.items(),
)
def test_a_size_is_written_as_people_write_it(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 10**12))
def test_a_written_size_is_read_back_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 10**9))
def test_a_written_duration_of_whole_seconds_is_read_back_exactly(seconds: int) -> None:
    assert parse_duration(format_duration(float(seconds))) == seconds


@given(st.floats(0, 1e9))
def test_a_written_duration_is_read_back_exactly(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("written", "number"),
    [("0.15", "0.15"), (0.15, "0.15"), (1e-7, "1e-7"), (3, "3"), (" 2.50 ", "2.5"), (-1, "-1"),
     ("0.000000001", "1e-9"), ("1.000000000000", "1"), (1e16, "1e16")],
)  # fmt: skip
def test_an_exact_number_is_the_one_that_is_written(written: Any, number: str) -> None:
    assert parse_exact(written) == Decimal(number)


@pytest.mark.parametrize(
    "written", ["", ".", "1,5", "1_0", "NaN", "inf", "0x1", "1e", "1e99999", "1" * 29, "\u0661",
                True, None, [], float("nan"), float("inf")],
)  # fmt: skip
def test_what_is_no_number_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match="not a number"):
        parse_exact(written)


@pytest.mark.parametrize("written", ["0.0000000001", 1e-10, 0.1 + 0.2, "1e-999"])
def test_less_than_a_nano_is_refused_and_not_rounded(written: Any) -> None:
    with pytest.raises(ValueError, match="more than 9 digits after the point"):
        parse_exact(written)


@given(st.integers(-(10**15), 10**15))
def test_every_number_of_nanos_is_read_exactly(nanos: int) -> None:
    number = Decimal(nanos).scaleb(-9)
    assert parse_exact(f"{number:f}") == number


def test_bounds_include_their_ends() -> None:
    share = Bounds(0, 1)
    assert [share.admit(number) for number in (-0.1, 0, 0.5, 1, 1.1)] == [False, True, True, True,
                                                                          False]  # fmt: skip


def test_bounds_may_exclude_their_low_end() -> None:
    positive = Bounds(0, above=True)
    assert not positive.admit(0)
    assert positive.admit(1e-300)
    assert positive.admit(math.inf)


def test_not_a_number_is_never_inside() -> None:
    assert not Bounds(-math.inf, math.inf).admit(math.nan)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(), "at least 0"),
        (Bounds(0, above=True), "more than 0"),
        (Bounds(1, 65_535), "at least 1 and at most 65535"),
        (Bounds(0, 1, above=True), "more than 0 and at most 1"),
    ],
)
def test_bounds_say_what_would_be_right(bounds: Bounds, words: str) -> None:
    assert bounds.describe() == words
