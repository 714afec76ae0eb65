"""Quantiles from counters against the exact ones, and the buckets of /metrics."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.histogram import (
    BOUNDS_MS,
    BUCKETS_MS,
    ERROR,
    SIZE,
    buckets,
    place,
    quantiles,
)

SHARES = (0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)


def counts_of(values: list[float]) -> list[int]:
    counts = [0] * SIZE
    for value in values:
        counts[place(value)] += 1
    return counts


def exact(values: list[float], share: float) -> float:
    """Nearest rank: the smallest value that at least `share` of all do not exceed."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def draws(kind: str, seed: int, count: int) -> list[float]:
    dice = random.Random(seed)
    draw = {
        "lognormal": lambda: dice.lognormvariate(5, 1.5),
        "uniform": lambda: dice.uniform(0.5, 30_000),
        "exponential": lambda: dice.expovariate(1 / 400) + 0.001,
        "two humps": lambda: dice.gauss(0.05, 0.001) if dice.random() < 0.7 else dice.gauss(900, 9),
    }[kind]
    return [draw() for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 7, 100, 5000])
@pytest.mark.parametrize("kind", ["lognormal", "uniform", "exponential", "two humps"])
def test_a_quantile_is_within_the_stated_error_of_the_exact_one(kind: str, count: int) -> None:
    values = draws(kind, count, count)
    found = quantiles(counts_of(values), SHARES)
    for share, estimate in zip(SHARES, found, strict=True):
        assert estimate == pytest.approx(exact(values, share), rel=ERROR + 1e-12)


@settings(max_examples=200)
@given(st.lists(st.floats(BOUNDS_MS[0], BOUNDS_MS[-1]), min_size=1, max_size=60),
       st.floats(0, 1))  # fmt: skip
def test_the_error_bound_holds_over_the_whole_range(values: list[float], share: float) -> None:
    (estimate,) = quantiles(counts_of(values), [share])
    assert estimate == pytest.approx(exact(values, share), rel=ERROR + 1e-9)


def test_the_error_is_2_05_percent() -> None:
    assert round(ERROR, 4) == 0.0205
    steps = [after / before for before, after in itertools.pairwise(BOUNDS_MS)]
    assert max(steps) == pytest.approx((1 + ERROR) ** 2)


def test_quantiles_are_of_nearest_rank() -> None:
    p50, p51 = quantiles(counts_of([100.0, 200.0]), [0.5, 0.51])
    assert p50 == pytest.approx(100, rel=ERROR)
    assert p51 == pytest.approx(200, rel=ERROR)


def test_nothing_recorded_reads_as_zero() -> None:
    assert quantiles([0] * SIZE, [0.5, 0.99]) == [0.0, 0.0]
    assert quantiles([], [0.5]) == [0.0]


@pytest.mark.parametrize(
    ("value", "read"), [(0.0, BOUNDS_MS[0]), (1e-9, BOUNDS_MS[0]), (1e12, BOUNDS_MS[-1])]
)
def test_a_value_outside_the_range_reads_as_its_end(value: float, read: float) -> None:
    assert quantiles(counts_of([value]), [0.5]) == [read]


def test_the_range_is_from_a_microsecond_to_an_hour() -> None:
    assert BOUNDS_MS[0] < 0.001
    assert BOUNDS_MS[-1] > 3_600_000


@settings(max_examples=200)
@given(st.floats(0, 1e8))
def test_a_value_is_counted_below_its_bound_and_above_the_one_before(value: float) -> None:
    index = place(value)
    assert index == len(BOUNDS_MS) or value <= BOUNDS_MS[index]
    assert index == 0 or value > BOUNDS_MS[index - 1]


def test_every_tenth_bound_from_5_ms_on_is_a_bucket() -> None:
    indices = [index for index, _ in BUCKETS_MS]
    assert len(indices) == 26
    assert {after - before for before, after in itertools.pairwise(indices)} == {10}
    assert BUCKETS_MS[0][1] == 5.0
    for index, bound in BUCKETS_MS:
        assert bound == pytest.approx(BOUNDS_MS[index], rel=0.01)


def test_buckets_are_cumulative_and_count_values_on_the_bound() -> None:
    counts = counts_of([0.01, 5.0, 5.1, 100.0, 1e9])
    shown = buckets(counts)
    heights = [count for _, count in shown]
    assert heights == sorted(heights)
    assert shown[0] == (5.0, 2)
    assert heights[-1] == 4, "what is beyond the last bucket is in none"


def test_merging_two_histograms_is_adding_their_counters() -> None:
    left, right = draws("lognormal", 1, 300), draws("uniform", 2, 300)
    merged = [a + b for a, b in zip(counts_of(left), counts_of(right), strict=True)]
    assert merged == counts_of(left + right)
