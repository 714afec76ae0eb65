"""What the suites of other breakers promise, as tests of ours: each says whose case it is.

Cases that stand in another file are listed at the end, with the test that covers them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from breakers import BAD, BAD_REQUEST, GOOD, LEFT, PLAIN, SLOW, SLOW_BAD, TIMED_OUT, Driven

from headgate.core.breaker import EVENTS_MAX, STATES, Breaker
from headgate.core.breaker_settings import BreakerSettings
from headgate.core.permits import Permit, Refusal


def like(**settings: object) -> BreakerSettings:
    return dataclasses.replace(PLAIN, **settings)


def in_state(state: str) -> Driven:
    """A breaker brought into a state the way it usually gets there."""
    driven = Driven()
    if state == "half_open":
        driven.end(driven.half_open())
    elif state == "open":
        driven.open()
    elif state != "closed":
        driven.breaker.force(state, driven.now_s)
    driven.told()
    return driven


# Refusals and permits.


def test_an_open_and_a_forced_open_breaker_permit_nothing() -> None:
    """Resilience4j: shouldThrowCallNotPermittedExceptionWhenStateIsOpen, ...IsForcedOpen."""
    assert in_state("open").refused().reason == "open"
    driven = in_state("forced_open")
    driven.wait(1e9)
    assert driven.refused() == Refusal("forced_open", None)
    assert driven.breaker.counts.refused == 1


def test_half_open_permits_four_calls_if_four_are_allowed() -> None:
    """Resilience4j: shouldOnlyPermitFourCallsInHalfOpenState,
    ...WhenNotFurtherTestCallsArePermitted"""
    driven = Driven(like(probes_needed=4, probes_at_once=4))
    driven.half_open()
    for _ in range(3):
        driven.admit()
    assert driven.refused().reason == "probing"


def test_a_permit_given_back_can_be_given_again() -> None:
    """Resilience4j: shouldIncreaseCounterOnReleasePermission,
    shouldReleasePermissionWhenExceptionIgnored"""
    driven = Driven()
    probe = driven.half_open()
    driven.refused()
    driven.end(probe)
    assert driven.breaker.probes_in_flight == 0
    driven.admit()


def test_ignored_outcomes_do_not_keep_it_from_closing() -> None:
    """Resilience4j: shouldIgnoreExceptionsAndThenTransitionToClosed"""
    driven = in_state("half_open")
    driven.call(BAD_REQUEST, LEFT, GOOD, BAD_REQUEST, LEFT)
    assert driven.state == "half_open"
    driven.call(GOOD)
    assert driven.state == "closed"


# Opening.


def test_faults_that_are_slow_too_open_it_once() -> None:
    """Resilience4j: shouldOpenAfterFailureRateThresholdExceeded,
    shouldOpenAfterSlowCallRateThresholdExceeded"""
    driven = Driven()
    driven.call(SLOW_BAD, SLOW_BAD, SLOW_BAD, SLOW_BAD)
    assert driven.told() == ["closed>open:fault_ratio"]
    assert (driven.breaker.counts.faults, driven.breaker.counts.slow) == (4, 4)


def test_timeouts_trip_it_as_errors_do() -> None:
    """Hystrix: testTripCircuitOnTimeouts, testTripCircuitOnTimeoutsAboveThreshold"""
    driven = Driven()
    driven.call(GOOD, GOOD, TIMED_OUT, TIMED_OUT)
    assert driven.state == "open"


def test_faults_below_the_ratio_do_not_trip_it() -> None:
    """Hystrix: testCircuitDoesNotTripOnFailuresBelowThreshold"""
    driven = Driven()
    for _ in range(50):
        driven.call(GOOD, GOOD, BAD)
        driven.wait(1)
    assert driven.state == "closed"


# Waiting.


@pytest.mark.parametrize(("waited_s", "state"), [(7.99, "open"), (8, "half_open"), (1e6, "half_open")])  # noqa: E501 # fmt: skip
def test_it_becomes_half_open_by_a_call_after_the_wait(waited_s: float, state: str) -> None:
    """Resilience4j: shouldTransitionToHalfOpenAfterWaitDuration, ...PassedWaitDuration,
    ...PassedWaitUntil. Hystrix: testSingleTestOnOpenCircuitAfterTimeWindow"""
    driven = Driven()
    driven.open()
    driven.wait(waited_s)
    assert driven.state == "open"  # nobody has asked yet
    driven.breaker.admit(driven.now_s)
    assert driven.state == state
    assert driven.refused().reason in ("open", "probing")


def test_the_wait_grows_with_each_window_that_has_to_be_retried() -> None:
    """Resilience4j: shouldTransitionToHalfOpenAfterWaitInterval. Polly:
    BreakDurationGenerator_EnsureHalfOpenAttempts. Hystrix:
    testMultipleTimeWindowRetriesBeforeClosingCircuit"""
    driven = Driven(like(probes_needed=1))
    driven.open()
    for wait_s in (8, 16, 32):
        assert driven.refused().retry_after_s == wait_s
        driven.wait(wait_s)
        driven.call(BAD)
    driven.wait(64)
    driven.call(GOOD)
    assert driven.state == "closed"


def test_the_wait_may_grow_to_its_maximum_of_five_minutes_and_no_further() -> None:
    """Finagle: backoff 5 minutes when the stream runs out. Envoy: MaxEjectTime,
    DetectorStaticConfigMaxDefaultValue, EjectionTimeJitterIsInRange"""
    driven = Driven(BreakerSettings(probes_needed=1, probe_lease_s=16), seed=7)
    driven.open()
    for _ in range(40):
        wait_s = driven.refused().retry_after_s
        assert wait_s is not None
        assert 1 <= wait_s <= 300 + 1e-9
        driven.wait(wait_s)
        driven.call(BAD)
    assert 150 < (driven.refused().retry_after_s or 0) <= 300 + 1e-9


# Probing.


@pytest.mark.parametrize(("votes", "reason"), [([GOOD, BAD], "probe_failed"), ([SLOW, SLOW], "probes_slow")])  # noqa: E501 # fmt: skip
def test_probes_that_fail_or_are_slow_lead_back_to_open(votes: list[object], reason: str) -> None:
    """Resilience4j: shouldTransitionBackToOpenStateWhenFailureRateIsAboveThreshold,
    ...SlowCallRate... Polly: Flow_Closed_HalfOpen_Open_HalfOpen_Closed. Finagle: busy again"""
    driven = in_state("half_open")
    driven.call(*votes)
    assert driven.told() == [f"half_open>open:{reason}"]
    driven.wait(16)
    driven.call(GOOD, GOOD)
    assert driven.told() == ["open>half_open:open_time_over", "half_open>closed:probes_passed"]


def test_probes_below_the_slow_ratio_close_it() -> None:
    """Resilience4j: shouldTransitionBackToClosedStateWhenFailureIsBelowThreshold. Polly:
    Flow_Closed_HalfOpen_Closed. Hystrix: testCircuitClosedAfterSuccess"""
    driven = in_state("half_open")
    driven.call(SLOW, GOOD)
    assert driven.state == "closed"


def test_it_closes_while_calls_of_before_are_still_under_way() -> None:
    """Hystrix: testSuccessClosesCircuitWhenBusy"""
    driven = Driven()
    old = [driven.admit() for _ in range(50)]
    driven.end(driven.half_open(), GOOD)
    driven.call(GOOD)
    for permit in old:
        driven.end(permit, BAD)
    assert (driven.state, driven.breaker.counts.late) == ("closed", 50)


def test_a_reader_who_leaves_the_probe_does_not_leave_it_stuck() -> None:
    """Hystrix: testUnsubscriptionDoesNotLeaveCircuitStuckHalfOpen. Sentinel: issue 1638"""
    driven = Driven()
    driven.end(driven.half_open(), LEFT)
    driven.end(driven.admit())  # a later rule blocked the call
    driven.admit()  # and this one is never heard of again
    driven.wait(16)
    assert driven.refused().reason == "open"
    driven.wait(16)
    driven.call(GOOD, GOOD)
    assert driven.state == "closed"


# By hand.


@pytest.mark.parametrize("state", STATES)
def test_a_breaker_may_begin_in_any_state(state: str) -> None:
    """Resilience4j: circuitBreakerInitializeInClosedState, ...Open, ...MetricOnly"""
    breaker = Breaker(PLAIN, 5.0, state=state)
    refuses = isinstance(breaker.admit(5.0), Refusal)
    assert refuses is (state == "forced_open")
    assert not breaker.has_events or state == "open"


@pytest.mark.parametrize("target", [state for state in STATES if state != "half_open"])
@pytest.mark.parametrize("state", STATES)
def test_every_state_allows_going_to_every_other_by_hand_and_to_itself(
    state: str, target: str
) -> None:
    """Resilience4j: allCircuitBreakerStatesAllowTransitionToMetricsOnlyMode, ...ToItsOwnState,
    shouldForceOpenCircuitBreaker, shouldDisableCircuitBreaker"""
    driven = in_state(state)
    driven.breaker.force(target, driven.now_s, "by an operator")
    assert driven.state == target
    expected = [] if state == target else [f"{state}>{target}:by an operator"]
    assert driven.told() == expected


@pytest.mark.parametrize("state", ["closed", "disabled", "metrics_only"])
def test_a_breaker_that_was_not_open_cannot_be_made_half_open(state: str) -> None:
    """Resilience4j: shouldNotAllowTransitionFromClosedToHalfOpen"""
    driven = in_state(state)
    with pytest.raises(ValueError, match=f"cannot go from {state} to half_open"):
        driven.breaker.force("half_open", driven.now_s)
    assert driven.state == state


@pytest.mark.parametrize("state", ["open", "forced_open", "half_open"])
def test_one_that_was_open_can_be_made_half_open(state: str) -> None:
    driven = in_state(state)
    driven.breaker.force("half_open", driven.now_s)
    driven.call(GOOD, GOOD)
    assert driven.state == "closed"


def test_a_state_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no state of a breaker: 'ajar'"):
        Driven().breaker.force("ajar", 0)


@pytest.mark.parametrize("state", STATES)
def test_reset_closes_it_from_every_state_and_forgets_what_was_counted(state: str) -> None:
    """Resilience4j: shouldResetMetrics, shouldResetToClosedState, shouldResetClosedState. Finagle:
    reset after success. Envoy: DestroyWithActive"""
    driven = in_state(state)
    driven.breaker.reset(driven.now_s)
    assert driven.told()[-1] == "reset"
    assert (driven.state, driven.breaker.opens_in_row) == ("closed", 0)
    driven.call(BAD, BAD, BAD)
    assert driven.state == "closed"
    driven.call(BAD)
    assert driven.refused().retry_after_s == 8


def test_isolated_it_refuses_until_it_is_told_otherwise() -> None:
    """Polly: IsolateAsync_Ok, CircuitBreakerManualControlTests"""
    driven = in_state("forced_open")
    driven.wait(1e6)
    driven.refused()
    driven.breaker.force("closed", driven.now_s)
    driven.call(GOOD)
    assert driven.breaker.open_s(driven.now_s) == 1e6


def test_a_disabled_breaker_permits_everything_and_counts_nothing() -> None:
    """Resilience4j: shouldDisableCircuitBreaker, CircuitBreakerEventPublisherTest"""
    driven = in_state("disabled")
    driven.call(*[BAD] * 100)
    assert (driven.state, driven.breaker.window.calls, driven.breaker.counts.faults) == ("disabled", 0, 0)  # noqa: E501 # fmt: skip
    assert driven.told() == []


def test_one_that_only_measures_says_once_that_it_would_open_and_never_refuses() -> None:
    """Resilience4j: shouldRecordMetricsInMetricsOnlyState,
    shouldPublishEachEventOnceInMetricOnlyState"""
    driven = in_state("metrics_only")
    driven.call(*[BAD] * 100)
    driven.call(*[SLOW] * 600)
    assert driven.state == "metrics_only"
    events = driven.breaker.take_events()
    assert [(event.kind, event.reason) for event in events] == [
        ("would_open", "fault_ratio"),
        ("would_open", "slow_ratio"),
    ]
    assert (driven.breaker.window.calls, driven.breaker.window.faults) == (700, 100)


def test_what_was_counted_while_only_measuring_is_not_held_against_it() -> None:
    """Resilience4j: shouldResetMetricsAfterMetricsOnlyStateTransition"""
    driven = in_state("metrics_only")
    driven.call(*[BAD] * 100)
    driven.breaker.force("closed", driven.now_s)
    driven.call(BAD, BAD, BAD)
    assert driven.state == "closed"


# Events.


def test_transitions_are_told_once_in_order_with_time_reason_and_epoch() -> None:
    """Resilience4j: CircuitBreakerEventPublisherTest, StateTransitionMetricsTest. Polly:
    HalfOpen_EnsureCorrectStateTransitionAfterExecution"""
    driven = Driven()
    driven.end(driven.half_open(), GOOD)
    driven.call(GOOD)
    opened, probing, closed = driven.breaker.take_events()
    assert (opened.at_s, opened.open_s, opened.reason) == (1000, 8, "fault_ratio")
    assert (probing.at_s, probing.before, probing.after) == (1008, "open", "half_open")
    assert (closed.epoch, closed.reason) == (3, "probes_passed")
    assert driven.breaker.take_events() == ()
    assert driven.breaker.counts.transitions == 3


def test_events_that_nobody_takes_are_bounded_and_the_loss_is_counted() -> None:
    driven = Driven()
    for _ in range(100):
        driven.breaker.force("open", driven.now_s)
        driven.breaker.force("closed", driven.now_s)
    assert driven.breaker.counts.events_dropped == 200 - EVENTS_MAX
    assert len(driven.told()) == EVENTS_MAX


# More calls than a breaker should notice.


def test_a_thousand_calls_at_the_half_open_moment_make_one_probe() -> None:
    driven = Driven()
    driven.open()
    driven.wait(8)
    answers = [driven.breaker.admit(driven.now_s) for _ in range(1_000)]
    assert sum(isinstance(answer, Permit) for answer in answers) == 1


def test_ten_thousand_late_faults_do_not_touch_a_breaker_that_probes() -> None:
    driven = Driven()
    old = [driven.admit() for _ in range(10_000)]
    probe = driven.half_open()
    for permit in old:
        driven.end(permit, BAD)
    assert (driven.state, driven.breaker.counts.late) == ("half_open", 10_000)
    driven.end(probe, GOOD)
    driven.call(GOOD)
    assert driven.state == "closed"


def test_a_flood_of_bad_requests_does_not_hide_that_everything_else_fails() -> None:
    """95 of 100 calls are the callers' own mistakes, the other five all fail."""
    driven = Driven(BreakerSettings())
    calls = 0
    while driven.state == "closed":
        driven.call(*[BAD_REQUEST] * 19, BAD)
        calls += 20
        driven.wait(0.1)
    assert (calls, driven.told()) == (400, ["closed>open:fault_ratio"])


def test_a_flood_of_short_deadlines_never_opens_it() -> None:
    driven = Driven(BreakerSettings())
    for _ in range(5_000):
        driven.call(LEFT)
        driven.wait(0.01)
    driven.call(*[GOOD] * 10)
    assert (driven.state, driven.breaker.window.calls) == ("closed", 10)


ELSEWHERE = {
    "Hystrix testTripCircuit": "test_exactly_the_ratio_opens_and_less_does_not",
    "Hystrix testLowVolumeDoesNotTripCircuit": "test_faults_below_the_minimum_of_calls_decide_nothing",  # noqa: E501
    "Polly BreakAsync_Ok": "test_an_open_breaker_says_how_long_and_means_it",
    "Polly HalfOpen_EnsureBreakDuration": "test_a_failed_probe_opens_it_again_for_longer",
    "Polly OnActionFailureAsync_EnsureBreakDurationNotOverflow": "test_a_breaker_that_never_recovers_does_not_overflow",  # noqa: E501
    "Polly GetHealthInfo_EnsureSamplingDurationRespected": "test_faults_older_than_the_window_are_forgotten",  # noqa: E501
    "Finagle default policy is hybrid": "test_faults_of_any_origin_in_a_row_open_it_where_that_is_set",  # noqa: E501
    "Envoy split_external_local_origin_errors": "test_any_byte_of_the_endpoint_ends_the_row_of_local_faults",  # noqa: E501
    "Envoy DetectorStaticConfigInvalidMaxEjectTime": "test_an_open_time_above_its_own_maximum_is_refused",  # noqa: E501
    "Resilience4j FixedSizeSlidingWindowMetricsTest": "test_a_count_window_holds_exactly_the_last_so_many",  # noqa: E501
    "Resilience4j SlidingTimeWindowMetricsTest": "test_a_time_window_holds_whole_buckets_of_the_last_seconds",  # noqa: E501
    "Resilience4j circuitBreakerTransitionsToOpenAfterWaitDurationInHalfOpenState": "test_a_lost_probe_opens_it_again_when_its_lease_ends",  # noqa: E501
    "Resilience4j CircuitBreakerConfigTest": "test_a_share_of_nothing_or_of_more_than_all_is_refused",  # noqa: E501
    "Resilience4j calls_min clamped": "test_a_count_window_smaller_than_the_minimum_of_calls_clamps_it",  # noqa: E501
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_the_cases_covered_elsewhere_are(case: str) -> None:
    here = Path(__file__).parent
    texts = [file.read_text("utf-8") for file in here.glob("test_*.py")]
    assert any(f"def {ELSEWHERE[case]}(" in text for text in texts)
