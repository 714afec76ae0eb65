"""The breaker, state by state. That it does so in any order of events: test_breaker_model.py; what
other breakers promise: test_breaker_anchors.py.
"""

from __future__ import annotations

import dataclasses

import pytest
from breakers import (
    BAD,
    BAD_REQUEST,
    GOOD,
    LEFT,
    LEFT_SLOW,
    PLAIN,
    SLOW,
    TIMED_OUT,
    UNREACHED,
    Driven,
)
from msgspec.structs import replace

from headgate.core.breaker_settings import BreakerSettings
from headgate.core.permits import Refusal


def like(**settings: object) -> BreakerSettings:
    return dataclasses.replace(PLAIN, **settings)


# CLOSED.


def test_faults_below_the_minimum_of_calls_decide_nothing() -> None:
    driven = Driven()
    driven.call(BAD, BAD, BAD)
    assert driven.state == "closed"
    driven.call(BAD)
    assert driven.state == "open"
    assert driven.told() == ["closed>open:fault_ratio"]


def test_exactly_the_ratio_opens_and_less_does_not() -> None:
    driven = Driven(like(calls_min=10, fault_ratio=0.3))
    driven.call(*[GOOD] * 7, BAD, BAD)
    assert driven.state == "closed"
    driven.call(BAD)
    assert driven.state == "open"


def test_a_success_opens_it_where_it_completes_the_minimum_of_calls() -> None:
    driven = Driven()
    driven.call(BAD, BAD, GOOD)
    assert driven.state == "closed"
    driven.call(GOOD)
    assert driven.told() == ["closed>open:fault_ratio"]


def test_a_high_rate_opens_it_though_faults_never_come_in_a_row() -> None:
    driven = Driven(like(calls_min=20))
    driven.call(*[BAD, GOOD] * 10)
    assert driven.state == "open"


def test_faults_older_than_the_window_are_forgotten() -> None:
    driven = Driven()
    driven.call(BAD, BAD, BAD)
    driven.wait(10)
    driven.call(BAD, BAD, BAD)
    assert driven.state == "closed"


def test_slow_calls_open_it_as_faults_do() -> None:
    driven = Driven()
    driven.call(SLOW, SLOW, GOOD)
    assert driven.state == "closed"
    driven.call(SLOW)
    assert driven.told() == ["closed>open:slow_ratio"]


def test_who_leaves_after_a_long_wait_counts_as_slow_and_as_nothing_else() -> None:
    driven = Driven()
    driven.call(LEFT_SLOW, LEFT_SLOW, LEFT_SLOW)
    assert (driven.breaker.window.calls, driven.breaker.window.slow) == (0, 3)
    driven.call(LEFT_SLOW)
    assert driven.told() == ["closed>open:slow_ratio"]


def test_not_reaching_the_endpoint_so_often_in_a_row_opens_it_at_any_volume() -> None:
    driven = Driven(like(calls_min=100, local_faults_in_row=5))
    for _ in range(4):
        driven.call(UNREACHED)
        driven.wait(3600)
    assert driven.state == "closed"
    driven.call(UNREACHED)
    assert driven.told() == ["closed>open:local_faults_in_row"]


@pytest.mark.parametrize("answer", [GOOD, BAD, BAD_REQUEST])
def test_any_byte_of_the_endpoint_ends_the_row_of_local_faults(answer: object) -> None:
    driven = Driven(like(calls_min=100, local_faults_in_row=3))
    driven.call(UNREACHED, UNREACHED, answer, UNREACHED, UNREACHED)
    assert driven.state == "closed"
    driven.call(UNREACHED)
    assert driven.state == "open"


@pytest.mark.parametrize("silence", [TIMED_OUT, LEFT])
def test_silence_neither_lengthens_nor_ends_the_row_of_local_faults(silence: object) -> None:
    driven = Driven(like(calls_min=100, local_faults_in_row=3))
    driven.call(UNREACHED, UNREACHED, silence, silence)
    assert driven.state == "closed"
    driven.call(UNREACHED)
    assert driven.state == "open"


def test_faults_of_any_origin_in_a_row_open_it_where_that_is_set() -> None:
    driven = Driven(like(calls_min=100, faults_in_row=3))
    driven.call(BAD, UNREACHED, GOOD, BAD, TIMED_OUT)
    assert driven.state == "closed"
    driven.call(BAD_REQUEST, LEFT, UNREACHED)
    assert driven.told() == ["closed>open:faults_in_row"]


def test_a_window_of_the_last_calls_does_not_care_about_time() -> None:
    driven = Driven(like(window_calls=4, calls_min=50))
    for outcome in (BAD, GOOD, GOOD, GOOD, GOOD, BAD):
        driven.call(outcome)
        driven.wait(1e6)
    assert driven.state == "closed"
    driven.call(BAD)
    assert driven.state == "open"


# OPEN.


def test_an_open_breaker_says_how_long_and_means_it() -> None:
    driven = Driven()
    driven.open()
    assert driven.refused() == Refusal("open", 8)
    driven.wait(7.75)
    assert driven.refused() == Refusal("open", 0.25)
    driven.wait(0.25)
    assert driven.admit().probe == 1


def test_who_waits_as_long_as_told_is_not_too_early_by_a_rounding_error() -> None:
    driven = Driven(like(open_base_s=1))
    driven.open()
    for _ in range(9):
        driven.refused()
        driven.wait(1 / 9)
    assert driven.now_s < 1001  # 1000.9999999999998
    driven.admit()


def test_the_open_time_doubles_from_one_opening_to_the_next() -> None:
    driven = Driven(like(probes_needed=1))
    driven.open()
    waits = []
    for _ in range(5):
        waits.append(driven.refused().retry_after_s)
        driven.wait(waits[-1] or 0)
        driven.call(BAD)
    assert waits == [8, 16, 32, 64, 64]


def test_a_breaker_that_never_recovers_does_not_overflow() -> None:
    driven = Driven(like(open_growth=10, open_max_s=64))
    driven.open()
    for _ in range(5_000):
        driven.wait(64)
        driven.call(BAD)
    assert driven.refused().retry_after_s == 64
    assert driven.breaker.opens_in_row == 5_001


@pytest.mark.parametrize(("asked_s", "open_s"), [(3, 8), (8, 8), (20, 20), (1e9, 64)])
def test_retry_after_is_a_lower_bound_of_the_open_time_up_to_its_maximum(
    asked_s: float, open_s: float
) -> None:
    driven = Driven()
    driven.call(GOOD, GOOD, replace(BAD, retry_after_s=asked_s), BAD)
    assert driven.refused().retry_after_s == open_s


def test_a_retry_after_of_an_earlier_fault_is_kept_too() -> None:
    driven = Driven()
    driven.call(BAD, replace(BAD, retry_after_s=30))
    driven.wait(5)
    driven.call(BAD, BAD)
    assert driven.refused().retry_after_s == 25


def test_a_retry_after_of_a_probe_lengthens_the_next_open_time() -> None:
    driven = Driven()
    driven.end(driven.half_open(), replace(BAD, retry_after_s=50))
    assert driven.refused().retry_after_s == 50


def test_jitter_shortens_and_never_lengthens_and_is_the_same_for_the_same_seed() -> None:
    def open_times(seed: int) -> list[float | None]:
        driven = Driven(like(open_jitter=0.5, open_growth=1, probes_needed=1), seed=seed)
        driven.open()
        waits = []
        for _ in range(50):
            waits.append(driven.refused().retry_after_s)
            driven.wait(8)
            driven.call(BAD)
        return waits

    waits = open_times(1)
    assert all(wait is not None and 4 < wait <= 8 for wait in waits)
    assert len(set(waits)) > 40
    assert open_times(1) == waits
    assert open_times(2) != waits


# HALF_OPEN.


def test_while_a_probe_is_out_others_are_told_how_long_it_may_take() -> None:
    driven = Driven()
    driven.half_open()
    driven.wait(4)
    assert driven.refused() == Refusal("probing", 12)


def test_successful_probes_close_it_and_the_window_is_empty() -> None:
    driven = Driven()
    driven.end(driven.half_open(), GOOD)
    assert driven.state == "half_open"
    driven.call(GOOD)
    assert driven.state == "closed"
    assert driven.breaker.window.calls == 0
    assert driven.told()[-1] == "half_open>closed:probes_passed"


def test_a_failed_probe_opens_it_again_for_longer() -> None:
    driven = Driven()
    driven.end(driven.half_open(), BAD)
    assert driven.refused() == Refusal("open", 16)


def test_probes_that_succeed_too_slowly_open_it_again() -> None:
    driven = Driven()
    driven.end(driven.half_open(), SLOW)
    driven.call(SLOW)
    assert driven.told()[-1] == "half_open>open:probes_slow"


@pytest.mark.parametrize("outcome", [LEFT, LEFT_SLOW, BAD_REQUEST])
def test_a_probe_without_a_verdict_neither_closes_nor_opens(outcome: object) -> None:
    driven = Driven()
    probe = driven.half_open()
    for _ in range(100):
        driven.end(probe, outcome)
        assert driven.state == "half_open"
        probe = driven.admit()


def test_a_lost_probe_opens_it_again_when_its_lease_ends() -> None:
    driven = Driven()
    driven.half_open()
    driven.wait(15.75)
    assert driven.refused().reason == "probing"
    driven.wait(0.25)
    assert driven.refused() == Refusal("open", 16)
    assert driven.breaker.counts.probes_lost == 1
    assert driven.told()[-2:] == ["probe_lost", "half_open>open:probe_lost"]


def test_a_lost_probe_that_nobody_noticed_does_not_refuse_the_next_caller() -> None:
    driven = Driven()
    driven.half_open()
    driven.wait(16 + 16)
    assert driven.admit().probe == 1
    assert driven.breaker.opens_in_row == 2


def test_a_result_after_the_lease_is_late() -> None:
    driven = Driven()
    probe = driven.half_open()
    driven.wait(16)
    driven.end(probe, GOOD)
    assert (driven.state, driven.breaker.counts.late) == ("open", 1)


def test_several_probes_at_once_are_so_many_and_no_more() -> None:
    driven = Driven(like(probes_needed=5, probes_at_once=3))
    probes = [driven.half_open(), driven.admit(), driven.admit()]
    driven.refused()
    for probe in probes:
        driven.end(probe, GOOD)
    probes = [driven.admit(), driven.admit()]
    assert driven.refused().reason == "probing"
    driven.end(probes[0], GOOD)
    driven.refused()
    driven.end(probes[1], GOOD)
    assert driven.state == "closed"


def test_it_starts_over_only_after_a_whole_window_without_opening() -> None:
    driven = Driven(like(probes_needed=1))
    driven.end(driven.half_open(), GOOD)
    driven.wait(9.75)
    driven.open()
    assert driven.refused().retry_after_s == 16
    driven.wait(16)
    driven.call(GOOD)
    driven.wait(10)
    driven.open()
    assert driven.refused().retry_after_s == 8


# A probe that is a stream.


def test_a_streamed_probe_votes_with_its_first_content() -> None:
    driven = Driven()
    first = driven.half_open()
    driven.breaker.answering(first, driven.now_s)
    second = driven.admit()
    driven.breaker.answering(second, driven.now_s)
    assert driven.state == "closed"
    driven.end(first, GOOD)
    driven.end(second, GOOD)
    assert (driven.breaker.counts.ok, driven.breaker.window.calls) == (2, 0)


def test_a_probe_that_has_voted_does_not_vote_again_when_it_ends() -> None:
    driven = Driven()
    first = driven.half_open()
    driven.breaker.answering(first, driven.now_s)
    driven.end(first, GOOD)
    assert driven.state == "half_open"
    driven.call(GOOD)
    assert driven.state == "closed"


def test_a_fault_in_the_stream_of_a_probe_that_has_voted_still_counts() -> None:
    driven = Driven()
    first = driven.half_open()
    driven.breaker.answering(first, driven.now_s)
    second = driven.admit()
    driven.end(first, BAD)
    assert driven.state == "open"
    driven.end(second, GOOD)
    assert driven.breaker.counts.late == 1


def test_a_fault_after_the_vote_that_closed_it_goes_into_the_window() -> None:
    driven = Driven()
    probes = []
    for probe in (driven.half_open(), None):
        probes.append(probe or driven.admit())
        driven.breaker.answering(probes[-1], driven.now_s)
    driven.end(probes[0], BAD)
    assert driven.breaker.window.faults == 1
    driven.end(probes[1], LEFT)
    assert driven.breaker.window.calls == 1


def test_a_probe_that_has_voted_shows_by_its_next_content_that_another_was_lost() -> None:
    """The same as any other sign of life would: who looks does not matter, only when."""
    driven = Driven()
    first = driven.half_open()
    driven.breaker.answering(first, driven.now_s)
    driven.admit()
    driven.wait(PLAIN.probe_lease_s)
    driven.breaker.answering(first, driven.now_s)
    assert driven.state == "open"
