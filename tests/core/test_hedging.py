"""When a second attempt is worth it, and how many there may be."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.hedging import SAMPLES_MAX, HedgeBudget, HedgeSettings, Waits
from headgate.errors import ConfigError


def waited(*seconds: float) -> Waits:
    waits = Waits()
    for took_s in seconds:
        waits.add(took_s)
    return waits


def test_nothing_is_known_before_twenty_answers() -> None:
    assert waited(*[1.0] * 19).delay_s() is None
    assert waited(*[1.0] * 20).delay_s() == 1.0


def test_it_is_what_95_of_100_answers_did_not_exceed() -> None:
    assert waited(*range(1, 101)).delay_s() == 95
    assert waited(*range(100, 0, -1)).delay_s() == 95, "whatever their order"
    assert waited(*[1.0] * 19, 9.0).delay_s() == 1.0, "one in twenty is beyond it"
    assert waited(*[1.0] * 18, 9.0, 9.0).delay_s() == 9.0


def test_it_is_never_less_than_a_millisecond_nor_than_was_asked_for() -> None:
    assert waited(*[0.0] * 20).delay_s() == 0.001
    assert waited(*[1.0] * 20).delay_s(2.5) == 2.5
    assert waited(*[1.0] * 20).delay_s(0.5) == 1.0


def test_old_answers_are_forgotten() -> None:
    waits = waited(*[9.0] * SAMPLES_MAX)
    for _ in range(SAMPLES_MAX):
        waits.add(1.0)
    assert waits.delay_s() == 1.0


def test_second_attempts_are_a_share_of_calls_and_no_more() -> None:
    budget = HedgeBudget(0.02)
    made = 0
    for _ in range(10_000):
        budget.deposit()
        made += budget.withdraw()
    assert made == 199 or made == 200, "two of a hundred, but for rounding"


def test_there_is_no_floor() -> None:
    budget = HedgeBudget(0.02)
    assert not budget.withdraw()
    for _ in range(40):
        budget.deposit()
    assert not budget.withdraw()
    nothing = HedgeBudget(0.0)
    for _ in range(10_000):
        nothing.deposit()
    assert not nothing.withdraw()


def test_at_most_ten_are_saved_up() -> None:
    budget = HedgeBudget(1.0)
    for _ in range(1_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(1_000)) == 10


def test_it_is_off_by_default() -> None:
    assert not HedgeSettings().is_enabled


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_share_that_is_none_is_refused_by_name(share: float) -> None:
    with pytest.raises(ConfigError, match="budget_share"):
        HedgeSettings(budget_share=share)


@pytest.mark.parametrize("delay", [-1.0, float("nan")])
def test_a_delay_that_is_none_is_refused_by_name(delay: Any) -> None:
    with pytest.raises(ConfigError, match="delay_min_s"):
        HedgeSettings(delay_min_s=delay)
