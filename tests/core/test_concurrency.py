"""The adaptive limit, the bounded queue in front of it, and when calls are turned away."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.concurrency import (
    Concurrency,
    ConcurrencySettings,
    Line,
    LineSettings,
    ShedSettings,
    Slot,
    Ticket,
    ask_again_s,
    why_shed,
)
from headgate.core.outcome import OUTCOMES
from headgate.core.permits import Refusal
from headgate.errors import ConfigError

OK, DROP, FAULT, LEFT = (
    OUTCOMES["ok"], OUTCOMES["overloaded"], OUTCOMES["server_error"], OUTCOMES["left"]
)  # fmt: skip


def filled(concurrency: Concurrency) -> list[Slot]:
    slots = []
    while (slot := concurrency.enter()) is not None:
        slots.append(slot)
    return slots


def test_so_many_enter_and_no_more() -> None:
    concurrency = Concurrency(ConcurrencySettings(limit_start=5))
    slots = filled(concurrency)
    assert (len(slots), concurrency.in_flight) == (5, 5)
    concurrency.leave(slots[0], FAULT)
    assert concurrency.enter() is not None
    assert concurrency.enter() is None


def test_a_success_where_the_room_was_used_makes_one_more() -> None:
    """concurrency-limits AIMDLimitTest: increaseOnSuccess"""
    concurrency = Concurrency(ConcurrencySettings(limit_start=10))
    slots = [concurrency.enter() for _ in range(5)]
    concurrency.leave(slots[0], OK)
    assert concurrency.limit == 11
    concurrency.leave(slots[1], OK)
    assert concurrency.limit == 11  # four of eleven: the room was not used


@pytest.mark.parametrize("reason", ["rate_limit", "overloaded", "first_token_timeout"])
def test_a_drop_takes_a_tenth(reason: str) -> None:
    """concurrency-limits AIMDLimitTest: decreaseOnDrops"""
    concurrency = Concurrency(ConcurrencySettings(limit_start=20))
    slots = filled(concurrency)
    limits = []
    for slot in slots[:4]:
        concurrency.leave(slot, OUTCOMES[reason])
        limits.append(concurrency.limit)
    assert limits == [18, 16, 14, 12]


@pytest.mark.parametrize("outcome", [FAULT, LEFT])
def test_other_outcomes_teach_nothing_and_give_the_place_back(outcome: object) -> None:
    """concurrency-limits ConcurrencyLimitServerInterceptorTest: releaseOn..."""
    concurrency = Concurrency(ConcurrencySettings(limit_start=2))
    for slot in filled(concurrency):
        concurrency.leave(slot, outcome)
    assert (concurrency.limit, concurrency.in_flight) == (2, 0)


def test_it_stays_between_its_bounds() -> None:
    """concurrency-limits AIMDLimitTest: successOverflow"""
    concurrency = Concurrency(ConcurrencySettings(limit_min=2, limit_start=3, limit_max=5))
    for outcome, bound in ((OK, 5), (DROP, 2)):
        for _ in range(50):
            for slot in filled(concurrency):
                concurrency.leave(slot, outcome)
        assert concurrency.limit == bound


def test_a_place_comes_back_once() -> None:
    concurrency = Concurrency(ConcurrencySettings(limit_start=20))
    slot = concurrency.enter()
    assert slot is not None
    for _ in range(5):
        concurrency.leave(slot, DROP)
    assert (concurrency.limit, concurrency.in_flight) == (18, 0)


def test_after_a_recovery_it_starts_at_its_minimum_and_finds_its_way_up() -> None:
    concurrency = Concurrency(ConcurrencySettings())
    filled(concurrency)
    concurrency.restart()
    assert (concurrency.limit, concurrency.in_flight) == (1, 20)
    assert concurrency.enter() is None
    concurrency = Concurrency(ConcurrencySettings())
    concurrency.restart()
    rounds = 0
    while concurrency.limit < 64:
        rounds += 1
        for slot in filled(concurrency):
            concurrency.leave(slot, OK)
    assert rounds < 20


@given(st.lists(st.sampled_from([OK, DROP, FAULT, LEFT, None]), max_size=200))
def test_the_number_under_way_is_what_entered_and_did_not_leave(steps: list[Any]) -> None:
    concurrency = Concurrency(ConcurrencySettings(limit_min=1, limit_start=3, limit_max=6))
    slots: list[Slot] = []
    for outcome in steps:
        if outcome is None:
            before = len(slots)
            slot = concurrency.enter()
            assert (slot is not None) is (before < concurrency.limit)
            slots += [slot] if slot else []
        elif slots:
            concurrency.leave(slots.pop(0), outcome)
        assert concurrency.in_flight == len(slots)
        assert 1 <= concurrency.limit <= 6


# The queue.


def joined(line: Line, now_s: float, **how: Any) -> Ticket:
    ticket = line.join(now_s, **how)
    assert isinstance(ticket, Ticket), ticket
    return ticket


def test_first_come_is_first_served() -> None:
    line = Line(LineSettings())
    tickets = [joined(line, 0.0) for _ in range(3)]
    assert [line.call(0.5), line.call(0.5), line.call(0.5)] == tickets
    assert line.call(0.5) is None
    assert len(line) == 0


def test_a_higher_priority_comes_first() -> None:
    line = Line(LineSettings())
    batch, chat = joined(line, 0.0, priority=-1), joined(line, 0.1, priority=5)
    assert [line.call(0.2), line.call(0.2)] == [chat, batch]


def test_a_full_queue_refuses_and_each_priority_has_its_own_places() -> None:
    """concurrency-limits LifoBlockingLimiterTest: rejectWhenBacklogSizeReached"""
    line = Line(LineSettings(places_max=2))
    first = joined(line, 0.0)
    joined(line, 0.0)
    assert line.join(0.0) == Refusal("queue_full", None)
    joined(line, 0.0, priority=1)
    assert line.leave(first)
    joined(line, 0.0)
    assert (len(line), line.refused) == (3, 1)


def test_nobody_waits_where_there_are_no_places() -> None:
    assert Line(LineSettings(places_max=0)).join(0.0) == Refusal("queue_full", None)


@pytest.mark.parametrize("deadline_s", [5.0, 4.9, -math.inf])
def test_who_has_no_time_left_does_not_wait(deadline_s: float) -> None:
    assert Line(LineSettings()).join(5.0, deadline_s) == Refusal("deadline", None)


@pytest.mark.parametrize(("deadline_s", "waits_s"), [(math.inf, 1.0), (9.0, 1.0), (5.3, 0.3)])
def test_nobody_waits_longer_than_a_second_or_its_deadline(
    deadline_s: float, waits_s: float
) -> None:
    line = Line(LineSettings())
    ticket = joined(line, 5.0, deadline_s=deadline_s)
    assert line.expire(5.0 + waits_s - 0.01) == []
    assert line.call(5.0 + waits_s) is None
    assert line.expire(5.0 + waits_s) == [ticket]
    assert (len(line), line.refused) == (0, 1)


def test_it_is_never_the_turn_of_one_whose_time_is_over() -> None:
    line = Line(LineSettings())
    late, waiting = joined(line, 0.0, deadline_s=0.2), joined(line, 0.0)
    assert line.call(0.5) is waiting
    assert line.expire(0.5) == [late]


def test_who_was_called_or_has_left_is_not_called_again() -> None:
    line = Line(LineSettings())
    first, second = joined(line, 0.0), joined(line, 0.0)
    assert line.leave(first)
    assert not line.leave(first)
    assert line.call(0.0) is second
    assert not line.leave(second)


def test_those_who_come_and_go_take_no_room() -> None:
    line = Line(LineSettings())
    for number in range(5_000):
        line.leave(joined(line, 0.0, priority=number))
    assert (len(line), len(line._waiting)) == (0, 0)


def test_calls_are_turned_away_when_the_loop_is_late_or_memory_is_short() -> None:
    settings = ShedSettings(memory_max_bytes=1_000)
    assert why_shed(settings, 0.25, 1_000) == ""
    assert why_shed(settings, 0.26, 0) == "loop_lag"
    assert why_shed(settings, 0.0, 1_001) == "memory"
    assert why_shed(ShedSettings(), 0.0, 10**15, 10**6) == ""


def test_calls_are_turned_away_when_as_many_are_in_progress_as_may_be() -> None:
    settings = ShedSettings(calls_max=2)
    assert [why_shed(settings, 0.0, 0, calls) for calls in (1, 2, 3)] == ["", "calls", "calls"]


@pytest.mark.parametrize(("dice", "wanted"), [(0.0, 1), (0.33, 1), (0.34, 2), (0.999, 3)])
def test_those_turned_away_come_back_in_different_seconds(dice: float, wanted: int) -> None:
    assert ask_again_s(dice) == wanted


@pytest.mark.parametrize(
    ("block", "key", "value", "wanted"),
    [
        (ConcurrencySettings, "limit_min", 0, "a whole number, at least 1"),
        (ConcurrencySettings, "limit_max", 1.5, "a whole number, at least 1"),
        (ConcurrencySettings, "limit_min", 21, "at most limit_start (20)"),
        (ConcurrencySettings, "limit_start", 201, "at most limit_max (200)"),
        (ConcurrencySettings, "decrease", 0, "more than 0 and at most 1"),
        (ConcurrencySettings, "decrease", 1.1, "more than 0 and at most 1"),
        (LineSettings, "places_max", -1, "a whole number, at least 0 and at most 1e+06"),
        (LineSettings, "wait_max_s", 0, "more than 0"),
        (LineSettings, "wait_max_s", math.nan, "more than 0"),
        (ShedSettings, "loop_lag_max_s", -1, "more than 0"),
        (ShedSettings, "calls_max", 0, "a whole number, at least 1"),
        (ShedSettings, "memory_max_bytes", 0, "a whole number, at least 1"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(
    block: Any, key: str, value: Any, wanted: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        block(**{key: value})
    assert str(caught.value) == f"{key}: must be {wanted}, got {value!r}"


def test_a_slow_start_doubles_up_to_what_there_was_before() -> None:
    concurrency = Concurrency(ConcurrencySettings(limit_start=20, limit_max=100))
    assert not concurrency.grow()
    assert concurrency.limit == 20, "no start is under way"
    concurrency.restart()
    steps = []
    goes_on = True
    while goes_on:
        goes_on = concurrency.grow()
        steps.append(concurrency.limit)
    assert steps == [2, 4, 8, 16, 20]


def test_a_second_start_within_the_first_aims_at_the_same_room() -> None:
    concurrency = Concurrency(ConcurrencySettings(limit_start=20, limit_max=100))
    concurrency.restart()
    concurrency.grow()
    concurrency.restart()
    assert concurrency.limit == 1
    while concurrency.grow():
        pass
    assert concurrency.limit == 20


def test_a_drop_ends_a_slow_start() -> None:
    concurrency = Concurrency(ConcurrencySettings(limit_start=20, limit_max=100))
    concurrency.restart()
    for _ in range(3):
        concurrency.grow()
    slot = concurrency.enter()
    assert slot is not None
    concurrency.leave(slot, DROP)
    assert not concurrency.grow()
    assert concurrency.limit == 7
