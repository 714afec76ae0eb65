"""Whole numbers shared out by weights."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.core.apportion import Sums, apportioned, usage_parts
from headgate.types import Usage

WEIGHTS = st.lists(st.integers(0, 10_000), min_size=1, max_size=50)


@given(st.integers(0, 10**9), WEIGHTS)
def test_the_parts_sum_to_the_whole_and_are_less_than_one_off(
    total: int, weights: list[int]
) -> None:
    parts = apportioned(total, weights)
    assert sum(parts) == total
    fair = weights if any(weights) else [1] * len(weights)
    for part, weight in zip(parts, fair, strict=True):
        assert abs(part * sum(fair) - total * weight) < sum(fair)


@given(WEIGHTS.filter(any))
def test_what_is_known_exactly_stays_exact(weights: list[int]) -> None:
    assert apportioned(sum(weights), weights) == weights


def test_of_equal_remainders_the_first_get_more() -> None:
    assert apportioned(5, [1, 1, 1]) == [2, 2, 1]
    assert apportioned(2, [0, 0, 0]) == [1, 1, 0]
    assert apportioned(0, [3, 4]) == [0, 0]


@given(st.tuples(*[st.integers(0, 5000)] * 6), WEIGHTS)
def test_the_parts_of_a_usage_add_up_class_by_class(
    numbers: tuple[int, ...], weights: list[int]
) -> None:
    usage, sums = Usage(*numbers), Sums()
    parts = usage_parts(usage, weights)
    assert len(parts) == len(weights)
    for part in parts:
        sums.add(part)
    assert sums.total == usage
