"""Requests and tokens per minute: what passes, what comes back, and what is owed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.permits import Refusal
from headgate.core.rate import Rate, RateSettings, Reservation
from headgate.errors import ConfigError


def reserved(rate: Rate, tokens: int, now_s: float) -> Reservation:
    answer = rate.reserve(tokens, now_s)
    assert isinstance(answer, Reservation), answer
    return answer


def wait_s(rate: Rate, tokens: int, now_s: float) -> float:
    answer = rate.reserve(tokens, now_s)
    assert isinstance(answer, Refusal), answer
    assert answer.retry_after_s is not None
    return answer.retry_after_s


def test_so_many_requests_pass_at_once_and_one_more_each_second() -> None:
    rate = Rate(RateSettings(requests_per_min=60), 0.0)
    for _ in range(60):
        reserved(rate, 0, 0.0)
    assert rate.reserve(0, 0.0) == Refusal("requests", pytest.approx(1.0))
    reserved(rate, 0, 1.0)
    assert wait_s(rate, 0, 1.0) == pytest.approx(1)
    assert rate.refused == 2


def test_a_shorter_burst_makes_the_traffic_smoother() -> None:
    rate = Rate(RateSettings(requests_per_min=60, burst_s=5), 0.0)
    for _ in range(5):
        reserved(rate, 0, 0.0)
    assert wait_s(rate, 0, 0.0) == pytest.approx(1)
    slow = Rate(RateSettings(requests_per_min=1, burst_s=1), 0.0)
    reserved(slow, 0, 0.0)
    assert wait_s(slow, 0, 0.0) == pytest.approx(60)


def test_it_is_idle_when_a_fresh_one_would_say_the_same() -> None:
    rate = Rate(RateSettings(requests_per_min=60, tokens_per_min=100), 0.0)
    assert rate.is_idle(0.0)
    first = reserved(rate, 50, 0.0)
    assert not rate.is_idle(60.0), "its end may leave a debt"
    assert rate.pending == 1
    rate.settle(first, 150, 60.0)
    rate.settle(first, 150, 60.0)
    assert rate.pending == 0
    assert not rate.is_idle(60.0)
    assert rate.is_idle(120.0)
    assert Rate(RateSettings(), 0.0).is_idle(0.0)


def test_an_estimate_is_worth_its_making_where_tokens_are_limited() -> None:
    assert Rate(RateSettings(tokens_per_min=1), 0.0).counts_tokens
    assert not Rate(RateSettings(requests_per_min=1), 0.0).counts_tokens


def test_without_limits_everything_passes() -> None:
    rate = Rate(RateSettings(), 0.0)
    for _ in range(1_000):
        rate.settle(reserved(rate, 10**9, 0.0), 10**9, 0.0)


def test_tokens_are_reserved_by_estimate_and_settled_by_count() -> None:
    rate = Rate(RateSettings(tokens_per_min=600), 0.0)
    first = reserved(rate, 500, 0.0)
    assert rate.reserve(200, 0.0) == Refusal("tokens", pytest.approx(10.0))
    rate.settle(first, 100, 0.0)
    reserved(rate, 500, 0.0)


def test_an_estimate_that_was_too_small_is_owed() -> None:
    rate = Rate(RateSettings(tokens_per_min=600), 0.0)
    rate.settle(reserved(rate, 100, 0.0), 700, 0.0)
    assert wait_s(rate, 50, 0.0) == pytest.approx(15)
    reserved(rate, 50, 15.0)


def test_no_count_closes_it_for_longer_than_two_bursts() -> None:
    rate = Rate(RateSettings(tokens_per_min=600), 0.0)
    rate.settle(reserved(rate, 1, 0.0), 10**15, 0.0)
    assert wait_s(rate, 600, 0.0) == pytest.approx(120)


def test_what_was_never_sent_comes_back() -> None:
    rate = Rate(RateSettings(requests_per_min=1, tokens_per_min=600), 0.0)
    rate.release(reserved(rate, 600, 0.0), 0.0)
    reserved(rate, 600, 0.0)


def test_a_failed_attempt_counts_as_a_request() -> None:
    rate = Rate(RateSettings(requests_per_min=1, tokens_per_min=600), 0.0)
    rate.settle(reserved(rate, 600, 0.0), 0, 0.0)
    assert rate.reserve(600, 0.0) == Refusal("requests", pytest.approx(60.0))


def test_a_reservation_ends_once() -> None:
    rate = Rate(RateSettings(requests_per_min=2, tokens_per_min=600), 0.0)
    first = reserved(rate, 300, 0.0)
    reserved(rate, 300, 0.0)
    for _ in range(5):
        rate.release(first, 0.0)
        rate.settle(first, 0, 0.0)
    reserved(rate, 300, 0.0)
    assert wait_s(rate, 1, 0.0) > 0


def test_a_refusal_takes_nothing() -> None:
    rate = Rate(RateSettings(requests_per_min=2, tokens_per_min=600), 0.0)
    reserved(rate, 600, 0.0)
    wait_s(rate, 10, 0.0)
    reserved(rate, 0, 0.0)


def test_an_estimate_larger_than_a_burst_passes_when_nothing_is_taken() -> None:
    rate = Rate(RateSettings(tokens_per_min=600), 0.0)
    reserved(rate, 100, 0.0)
    assert wait_s(rate, 900, 0.0) == pytest.approx(10)
    reserved(rate, 900, 10.0)
    assert wait_s(rate, 100, 10.0) == pytest.approx(40)


def test_time_that_goes_back_refills_nothing() -> None:
    rate = Rate(RateSettings(requests_per_min=60), 100.0)
    for _ in range(60):
        reserved(rate, 0, 100.0)
    assert wait_s(rate, 0, 40.0) == pytest.approx(1)
    assert wait_s(rate, 0, 100.5) == pytest.approx(0.5)


steps = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 400), st.integers(0, 400)), max_size=60)


@given(steps)
def test_no_stretch_of_time_passes_more_than_a_burst_and_what_was_refilled(
    taken: list[tuple[float, int, int]],
) -> None:
    rate = Rate(RateSettings(requests_per_min=12, tokens_per_min=600), 0.0)
    now_s, passed = 0.0, []
    for later_s, tokens, _ in taken:
        now_s += later_s
        if isinstance(rate.reserve(tokens, now_s), Reservation):
            passed.append((now_s, tokens))
    for begin, (from_s, _) in enumerate(passed):
        for end in range(begin, len(passed)):
            length_s = passed[end][0] - from_s
            assert end - begin + 1 <= 12 + 0.2 * length_s + 1e-3
            assert sum(t for _, t in passed[begin : end + 1]) <= 600 + 10 * length_s + 1e-3


@given(steps)
def test_who_waits_as_long_as_it_was_told_passes(taken: list[tuple[float, int, int]]) -> None:
    rate = Rate(RateSettings(requests_per_min=12, tokens_per_min=600, burst_s=10), 0.0)
    now_s = 0.0
    for later_s, tokens, used in taken:
        now_s += later_s
        answer = rate.reserve(tokens, now_s)
        if isinstance(answer, Refusal):
            now_s += answer.retry_after_s or 0
            answer = rate.reserve(tokens, now_s)
        assert isinstance(answer, Reservation)
        rate.settle(answer, used, now_s)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("requests_per_min", 0, "a whole number, at least 1 and at most 1e+12"),
        ("tokens_per_min", -5, "a whole number, at least 1 and at most 1e+12"),
        ("tokens_per_min", 1.5, "a whole number, at least 1 and at most 1e+12"),
        ("burst_s", 0, "at least 1 and at most 60"),
        ("burst_s", math.nan, "at least 1 and at most 60"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RateSettings(**{key: value})
    assert str(caught.value) == f"{key}: must be {wanted}, got {value!r}"


def test_there_is_room_for_what_can_wait_while_half_of_every_burst_is_left() -> None:
    rate = Rate(RateSettings(requests_per_min=10, tokens_per_min=1000), 0.0)
    rate.reserve(500, 0.0)
    assert rate.has_spare(0.0)
    rate.reserve(1, 0.0)
    assert not rate.has_spare(0.0)
    assert rate.has_spare(60.0)
    assert Rate(RateSettings(), 0.0).has_spare(0.0)
