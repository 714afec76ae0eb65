"""The numbers of one model as a vector, and added up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.core.histogram import BUCKETS, SIZE
from headgate.core.series import FAILED, RESULTS, STALE, ModelSeries
from headgate.types import Usage


def a_series(seed: int) -> ModelSeries:
    series = ModelSeries("m")
    series.calls, series.hits, series.misses, series.mistakes = seed, seed + 1, seed + 2, seed + 3
    series.use(Usage(10 * seed, 5 * seed, 2 * seed, seed))
    series.sum_ms, series.hit_sum_ms, series.first_sum_ms = seed * 1.5, seed * 0.25, seed * 0.125
    series.results[STALE], series.results[FAILED] = seed, seed + 7
    series.hit_buckets[seed % BUCKETS] = series.first_buckets[0] = seed
    series.counts[seed % SIZE] = seed
    return series


def shown(series: ModelSeries) -> list[object]:
    names = [name for name in ModelSeries.__slots__ if name not in ("errors", "refusals")]
    return [getattr(series, name) for name in names]


@given(st.integers(0, 10_000))
def test_a_vector_and_back_is_the_same(seed: int) -> None:
    series = a_series(seed)
    assert shown(ModelSeries.of("m", series.vector())) == shown(series)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_added_up_vectors_are_the_vector_of_what_is_added_up(one: int, other: int) -> None:
    first, second = a_series(one), a_series(other)
    both = [a + b for a, b in zip(first.vector(), second.vector(), strict=True)]
    first.add(second)
    assert first.vector() == both


def test_failures_are_errors_and_refusals_without_the_callers_own_mistakes() -> None:
    series, other = ModelSeries("m"), ModelSeries("m")
    series.errors["timeout"], series.refusals["queue_full"], series.mistakes = 2, 3, 4
    other.errors["timeout"] = 1
    series.add(other)
    assert (series.failures, series.errors["timeout"]) == (6, 3)


def test_a_copy_does_not_change_any_more() -> None:
    series = a_series(3)
    copied = series.copy()
    series.counts[3] += 1
    series.errors["timeout"] = 1
    assert (copied.counts[3], copied.errors, copied.calls) == (3, {}, 3)


def test_there_are_seven_ways_to_end() -> None:
    assert RESULTS == ("hit_exact", "hit_stale", "follower", "upstream", "failed", "refused",
                       "cancelled")  # fmt: skip
