"""What a call may spend on trying again, and what a destination takes of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from headgate.core.allowance import Allowance, AllowanceSettings, Budget, Patience
from headgate.core.outcome import OUTCOMES
from headgate.errors import ConfigError

USUAL = AllowanceSettings()
FAULT, THROTTLED = OUTCOMES["server_error"], OUTCOMES["rate_limit"]


# The budget of a destination. Finagle's RetryBudgetTest has most of these.


def test_the_floor_alone_allows_so_many_repeats_and_no_more() -> None:
    budget = Budget(USUAL, 0.0)
    assert [budget.withdraw(0.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert budget.denied == 2


def test_ten_first_attempts_pay_for_one_repeat() -> None:
    budget = Budget(AllowanceSettings(budget_floor=0), 0.0)
    for _ in range(9):
        budget.deposit(0.0)
    assert not budget.withdraw(0.0)
    budget.deposit(0.0)
    assert budget.withdraw(0.0)
    assert not budget.withdraw(0.0)


def test_without_a_floor_and_a_share_nothing_is_repeated() -> None:
    budget = Budget(AllowanceSettings(budget_floor=0, budget_share=0), 0.0)
    for _ in range(1_000):
        budget.deposit(0.0)
    assert not budget.withdraw(0.0)


def test_first_attempts_and_repeats_count_for_ten_seconds() -> None:
    budget = Budget(AllowanceSettings(budget_floor=1), 0.0)
    for _ in range(100):
        budget.deposit(0.0)
    assert budget.balance(9.9) == 11
    assert budget.balance(10.0) == 1
    assert budget.withdraw(10.0)
    assert not budget.withdraw(19.9)
    assert budget.withdraw(20.0)


def test_the_balance_is_negative_after_traffic_has_shrunk() -> None:
    budget = Budget(AllowanceSettings(budget_floor=0), 0.0)
    for _ in range(100):
        budget.deposit(0.0)
    for _ in range(10):
        assert budget.withdraw(5.0)
    assert budget.balance(10.0) == -10
    assert not budget.withdraw(10.0)


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 30), st.integers(0, 30)), max_size=30),
    st.integers(0, 5),
    st.floats(0, 1),
)
def test_repeats_stay_a_share_of_the_traffic_and_the_floor(
    steps: list[tuple[float, int, int]], floor: int, share: float
) -> None:
    """When one is granted, there were no more in the last nine seconds than the share of the last
    ten and the floor."""
    budget = Budget(AllowanceSettings(budget_floor=floor, budget_share=share), 0.0)
    now_s, firsts, repeats = 0.0, [], []
    for later_s, arriving, repeating in steps:
        now_s += later_s
        for _ in range(arriving):
            budget.deposit(now_s)
            firsts.append(now_s)
        granted = [now_s for _ in range(repeating) if budget.withdraw(now_s)]
        repeats += granted
        recent = sum(at_s > now_s - 9 + 1e-6 for at_s in repeats)
        paid = share * sum(at_s > now_s - 10 - 1e-6 for at_s in firsts)
        assert not granted or recent <= floor + paid + 1e-6


def test_a_retry_storm_sends_a_tenth_more_and_the_floor() -> None:
    """200 calls a second for a minute, all failing, each wanting two retries."""
    budget, sent = Budget(USUAL, 0.0), 0
    for tick in range(12_000):
        now_s = tick / 200
        budget.deposit(now_s)
        sent += 1 + budget.withdraw(now_s) + budget.withdraw(now_s)
    assert 12_000 < sent <= 1.1 * 12_000 + 10 * 6 + 10


# The allowance of a call.


def test_a_call_has_three_attempts() -> None:
    allowance = Allowance(USUAL)
    denied = []
    for _ in range(3):
        allowance.spend()
        denied.append(allowance.denial(FAULT, 0.0))
    assert denied == ["", "", "attempts"]
    assert allowance.denial_elsewhere(FAULT, 0.0) == "attempts"
    assert allowance.attempts == 3


def test_nobody_waits_longer_than_the_deadline_allows() -> None:
    allowance = Allowance(USUAL, deadline_s=100.0)
    assert allowance.left_s(90.0) == 10
    assert allowance.left_s(101.0) == 0
    assert allowance.denial(FAULT, 90.0, wait_s=9.9) == ""
    assert allowance.denial(FAULT, 90.0, wait_s=10.0) == "deadline"
    assert allowance.denial_elsewhere(FAULT, 100.0) == "deadline"


@pytest.mark.parametrize(("asked_s", "denied"), [(60, ""), (60.1, "retry_after"), (1e9, "retry_after")])  # noqa: E501 # fmt: skip
def test_a_retry_after_of_more_than_a_minute_is_not_waited_for(asked_s: float, denied: str) -> None:
    allowance = Allowance(USUAL)
    assert allowance.denial(replace(THROTTLED, retry_after_s=asked_s), 0.0) == denied
    assert allowance.denial_elsewhere(replace(THROTTLED, retry_after_s=asked_s), 0.0) == ""


@pytest.mark.parametrize(
    "reason", ["bad_request", "authentication", "quota", "certificate", "left", "ok"]
)
def test_what_would_end_the_same_way_is_not_repeated(reason: str) -> None:
    assert Allowance(USUAL).denial(OUTCOMES[reason], 0.0) == "final"
    assert Allowance(USUAL).denial_elsewhere(OUTCOMES[reason], 0.0) == ""


def test_after_content_has_left_nothing_is_tried_anywhere() -> None:
    assert Allowance(USUAL).denial(OUTCOMES["mid_stream"], 0.0) == "final"
    assert Allowance(USUAL).denial_elsewhere(OUTCOMES["mid_stream"], 0.0) == "final"


def test_a_payload_that_makes_no_sense_is_asked_for_once_more() -> None:
    garbled = OUTCOMES["bad_payload"]
    assert Allowance(USUAL).denial(garbled, 0.0, repeats=0) == ""
    assert Allowance(USUAL).denial(garbled, 0.0, repeats=1) == "final"
    assert Allowance(USUAL).denial(FAULT, 0.0, repeats=1) == ""


@pytest.mark.parametrize(
    ("reason", "denied"),
    [
        ("server_error", "unsafe"),
        ("total_timeout", "unsafe"),
        ("reset", "unsafe"),
        ("bad_gateway", "unsafe"),
        ("unreachable", ""),
        ("connect_timeout", ""),
        ("rate_limit", ""),
        ("unavailable", ""),
    ],
)
def test_a_request_with_effects_is_repeated_only_where_nothing_was_done(
    reason: str, denied: str
) -> None:
    allowance = Allowance(USUAL, is_repeatable=False)
    assert allowance.denial(OUTCOMES[reason], 0.0) == denied
    assert allowance.denial_elsewhere(OUTCOMES[reason], 0.0) == denied


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("attempts_max", 0, "a whole number, at least 1 and at most 100"),
        ("attempts_max", 101, "a whole number, at least 1 and at most 100"),
        ("budget_share", -0.1, "at least 0 and at most 1"),
        ("budget_share", 1.1, "at least 0 and at most 1"),
        ("budget_share", math.nan, "at least 0 and at most 1"),
        ("budget_floor", -1, "a whole number, at least 0 and at most 1e+06"),
        ("budget_s", 0.5, "at least 1 and at most 60"),
        ("budget_s", 61, "at least 1 and at most 60"),
        ("retry_after_max_s", 0, "more than 0"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AllowanceSettings(**{key: value})
    assert str(caught.value) == f"{key}: must be {wanted}, got {value!r}"


def test_the_first_callers_deadline_holds_as_long_as_nobody_else_waits() -> None:
    allowance, patience = Allowance(USUAL, 600.0), Patience(2.0)
    allowance.wait_with(patience, 10.0)
    assert [allowance.denial(FAULT, now_s) for now_s in (11.9, 12.0)] == ["", "deadline"]
    assert allowance.left_s(10.0) == 590, "an attempt under way is not ended by it"
    patience.is_shared = True
    assert [allowance.denial(FAULT, now_s) for now_s in (12.0, 599.9, 600.0)] == [
        "", "", "deadline"
    ]  # fmt: skip
