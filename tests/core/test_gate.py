"""The gate of a credential: three ladders, waits that a provider names, and many who hear no."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.core.gate import Closing, Gate, GateMemory, GateSettings
from headgate.core.outcome import OUTCOMES, Outcome
from headgate.core.permits import Permit, Refusal
from headgate.errors import ConfigError

OK, BAD = OUTCOMES["ok"], OUTCOMES["server_error"]
THROTTLED, REFUSED = OUTCOMES["rate_limit"], OUTCOMES["authentication"]
FORBIDDEN, USED_UP = OUTCOMES["permission"], OUTCOMES["quota"]


def asking(outcome: Outcome, wait_s: float) -> Outcome:
    return replace(outcome, retry_after_s=wait_s)


class Driven:
    """A gate with a clock of its own."""

    def __init__(self, *, seed: int = 0) -> None:
        self.now_s = 1000.0
        self.gate = Gate(GateSettings(), self.now_s, seed=seed)

    def admit(self) -> Permit:
        answer = self.gate.admit(self.now_s)
        assert isinstance(answer, Permit), answer
        return answer

    def refused(self) -> Refusal:
        answer = self.gate.admit(self.now_s)
        assert isinstance(answer, Refusal), answer
        return answer

    def call(self, outcome: Outcome) -> Closing | None:
        return self.gate.record(self.admit(), outcome, self.now_s)

    def closes_for(self, outcome: Outcome, times: int) -> list[float]:
        """For how long it closes each time; asked again as soon as it opens."""
        lengths = []
        for _ in range(times):
            closing = self.call(outcome)
            assert closing is not None
            lengths.append(closing.closed_s)
            self.now_s += self.gate.retry_after_s(self.now_s)
        return lengths


@pytest.mark.parametrize("outcome", [REFUSED, FORBIDDEN])
def test_a_refused_key_closes_it_for_half_a_minute_then_twice_as_long_up_to_a_quarter_of_an_hour(
    outcome: Outcome,
) -> None:
    assert Driven().closes_for(outcome, 8) == [30, 60, 120, 240, 480, 900, 900, 900]


def test_a_quota_without_a_reset_closes_it_for_a_quarter_of_an_hour_up_to_a_day() -> None:
    lengths = Driven().closes_for(USED_UP, 10)
    assert lengths[:3] == [900, 1800, 3600]
    assert lengths[-2:] == [86_400, 86_400]


def test_a_throttle_that_says_nothing_closes_it_for_a_second_up_to_a_minute_jittered() -> None:
    lengths = Driven(seed=3).closes_for(THROTTLED, 12)
    for length_s, full_s in zip(lengths, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60], strict=True):
        assert full_s / 2 < length_s <= full_s
    assert len({length / full for length, full in zip(lengths[6:], [60] * 6, strict=True)}) > 1
    assert Driven(seed=3).closes_for(THROTTLED, 12) == lengths


@pytest.mark.parametrize("outcome", [THROTTLED, USED_UP])
@pytest.mark.parametrize(("asked_s", "closed_s"), [(0.2, 0.2), (20, 20), (600, 600), (1e9, 86_400)])
def test_the_wait_that_a_provider_names_counts_up_to_a_day(
    outcome: Outcome, asked_s: float, closed_s: float
) -> None:
    assert Driven().closes_for(asking(outcome, asked_s), 3) == [closed_s] * 3


def test_a_wait_of_nothing_is_none() -> None:
    (length_s,) = Driven().closes_for(asking(THROTTLED, 0), 1)
    assert 0.5 < length_s <= 1


def test_a_refused_key_stays_out_at_least_as_long_as_its_ladder_says() -> None:
    assert Driven().closes_for(asking(REFUSED, 5), 1) == [30]
    assert Driven().closes_for(asking(REFUSED, 50), 1) == [50]


def test_a_closed_gate_says_why_and_how_long_and_means_it() -> None:
    driven = Driven()
    closing = driven.call(asking(THROTTLED, 20))
    assert closing == Closing("throttle", "rate_limit", 1000, 20, 1, alarm=False)
    assert driven.refused() == Refusal("throttle", 20)
    driven.now_s += 19.5
    assert driven.refused() == Refusal("throttle", 0.5)
    driven.now_s += 0.5
    driven.admit()


@pytest.mark.parametrize(
    ("outcome", "alarm"), [(THROTTLED, False), (REFUSED, True), (FORBIDDEN, True), (USED_UP, True)]
)
def test_a_person_is_told_where_waiting_does_not_help(outcome: Outcome, alarm: bool) -> None:
    closing = Driven().call(outcome)
    assert closing is not None
    assert closing.alarm is alarm


@pytest.mark.parametrize("reason", sorted(set(OUTCOMES) - {"rate_limit", "authentication",
                                                            "permission", "quota"}))  # fmt: skip
def test_nothing_else_closes_it(reason: str) -> None:
    driven = Driven()
    assert driven.call(OUTCOMES[reason]) is None
    driven.admit()


def test_a_success_begins_the_ladder_anew_and_a_fault_does_not() -> None:
    driven = Driven()
    driven.closes_for(REFUSED, 3)
    driven.call(BAD)
    assert driven.closes_for(REFUSED, 1) == [240]
    driven.call(OK)
    assert driven.closes_for(REFUSED, 1) == [30]


def test_another_ladder_begins_at_its_first_step() -> None:
    driven = Driven()
    driven.closes_for(REFUSED, 3)
    assert driven.closes_for(USED_UP, 1) == [900]
    assert driven.closes_for(REFUSED, 1) == [30]


def test_a_thousand_calls_that_hear_the_same_no_climb_one_step() -> None:
    driven = Driven()
    permits = [driven.admit() for _ in range(1_000)]
    closings = [driven.gate.record(permit, REFUSED, driven.now_s) for permit in permits]
    assert sum(closing is not None for closing in closings) == 1
    assert driven.gate.step == 1
    driven.now_s += 30
    assert driven.closes_for(REFUSED, 1) == [60]


def test_a_longer_wait_counts_also_from_a_call_of_before() -> None:
    driven = Driven()
    first, second, third = driven.admit(), driven.admit(), driven.admit()
    driven.gate.record(first, asking(THROTTLED, 10), driven.now_s)
    driven.now_s += 4
    closing = driven.gate.record(second, asking(THROTTLED, 30), driven.now_s)
    assert closing is not None
    assert (closing.closed_s, closing.step) == (30, 1)
    assert driven.gate.record(third, asking(THROTTLED, 29), driven.now_s) is None
    assert driven.refused().retry_after_s == 30


def test_a_late_success_does_not_open_it() -> None:
    driven = Driven()
    early = driven.admit()
    driven.closes_for(REFUSED, 2)
    driven.gate.record(early, OK, driven.now_s)
    assert driven.closes_for(REFUSED, 1) == [120]


def test_a_permit_ended_twice_counts_once() -> None:
    driven = Driven()
    permit = driven.admit()
    assert driven.gate.record(permit, REFUSED, driven.now_s) is not None
    driven.now_s += 30
    assert driven.gate.record(permit, asking(REFUSED, 500), driven.now_s) is None
    driven.admit()


def test_one_credential_is_throttled_and_the_other_serves_everything() -> None:
    """Ten minutes of 429 at A: B is never refused, and A is asked only as often as it allows."""
    throttled, healthy = Driven(), Driven()
    asked = 0
    for second in range(600):
        throttled.now_s = healthy.now_s = 1000.0 + second
        if isinstance(throttled.gate.admit(throttled.now_s), Permit):
            throttled.call(asking(THROTTLED, 60))
            asked += 1
        healthy.call(OK)
    assert asked == 10


def test_a_quota_is_not_tried_again_before_its_gate_opens() -> None:
    driven = Driven()
    driven.call(asking(USED_UP, 7200))
    for minute in range(120):
        assert driven.refused().reason == "quota", minute
        driven.now_s += 60
    driven.admit()


def test_a_quota_lasts_over_a_restart_and_nothing_else_does() -> None:
    driven = Driven()
    driven.closes_for(USED_UP, 2)
    driven.call(asking(USED_UP, 500))
    memory = driven.gate.memory(driven.now_s + 100, epoch_s=50_000.0)
    assert memory == GateMemory("quota", 50_400.0, 3)
    other = Driven()
    other.gate.recall(memory, other.now_s, epoch_s=50_150.0)
    assert other.refused() == Refusal("quota", 250)
    other.now_s += 250
    assert other.closes_for(USED_UP, 1) == [7200]
    for outcome in (THROTTLED, REFUSED):
        driven = Driven()
        driven.call(outcome)
        assert driven.gate.memory(driven.now_s, 0.0) is None


@pytest.mark.parametrize(("until_epoch_s", "closed_s"), [(1e12, 86_400), (0, 0), (-1e12, 0)])
def test_a_memory_stamped_by_a_wrong_clock_closes_it_for_a_day_at_most(
    until_epoch_s: float, closed_s: float
) -> None:
    driven = Driven()
    driven.gate.recall(GateMemory("quota", until_epoch_s, 1), driven.now_s, epoch_s=50_000.0)
    assert driven.gate.retry_after_s(driven.now_s) == closed_s


def test_a_person_may_open_it() -> None:
    driven = Driven()
    driven.closes_for(REFUSED, 2)
    early = driven.admit()
    driven.call(REFUSED)
    driven.gate.reopen(driven.now_s)
    assert driven.gate.record(early, REFUSED, driven.now_s) is None
    assert driven.closes_for(REFUSED, 1) == [30]


def test_it_is_idle_when_it_is_open_and_on_no_ladder() -> None:
    driven = Driven()
    assert driven.gate.is_idle(driven.now_s)
    driven.closes_for(REFUSED, 1)
    assert not driven.gate.is_idle(driven.now_s)
    driven.call(OK)
    assert driven.gate.is_idle(driven.now_s)


def test_one_that_nobody_asks_for_longer_than_its_longest_step_is_idle() -> None:
    driven = Driven()
    driven.closes_for(REFUSED, 1)
    opens_s = driven.now_s + driven.gate.retry_after_s(driven.now_s)
    longest_s = driven.gate.settings.authentication_max_s
    assert not driven.gate.is_idle(opens_s + longest_s - 1)
    assert driven.gate.is_idle(opens_s + longest_s)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "1h"])
def test_a_closing_of_no_length_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        GateSettings(quota_base_s=value)
    assert str(caught.value) == f"quota_base_s: must be more than 0, got {value!r}"
