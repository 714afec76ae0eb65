"""Reserve, settle, release: no sequence of them spends what is not there."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from headgate.core.budget import DAY, MONTH, Budget, Hold, Shortage, day_of, month_of

NOON_S = 1_795_780_800.0
"""2026-11-27T12:00:00Z."""
DAY_S = 86_400.0
AMOUNT = st.integers(0, 60)


def held(answer: Hold | Shortage) -> Hold:
    assert isinstance(answer, Hold)
    return answer


@given(st.floats(0, 1e11))
def test_days_and_months_are_those_of_the_calendar(at_s: float) -> None:
    moment = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    assert day_of(at_s) == moment.strftime("%Y-%m-%d").rjust(10, "0")
    assert month_of(at_s) == day_of(at_s)[:7]


@given(st.integers(0, 4 * 10**9))
def test_a_shortage_names_the_moment_from_which_there_is_a_new_budget(at_s: int) -> None:
    for period, name in ((DAY, day_of), (MONTH, month_of)):
        short = Budget(*((0, None) if period == DAY else (None, 0))).reserve(1, at_s)
        assert isinstance(short, Shortage)
        assert name(short.begins_anew_s - 1) == name(at_s)
        assert name(short.begins_anew_s) != name(at_s)


def test_what_does_not_fit_is_refused_and_takes_nothing() -> None:
    budget = Budget(100, None)
    first = held(budget.reserve(60, NOON_S))
    short = budget.reserve(41, NOON_S)
    assert short == Shortage(DAY, 100, 40, NOON_S + DAY_S / 2)
    second = held(budget.reserve(40, NOON_S))
    budget.settle(first, 10, NOON_S)
    budget.release(second)
    assert isinstance(budget.reserve(91, NOON_S), Shortage)
    held(budget.reserve(90, NOON_S))


def test_a_day_of_its_own_does_not_help_where_the_month_is_used_up() -> None:
    budget = Budget(100, 150)
    for day in range(2):
        hold = held(budget.reserve(75, NOON_S + day * DAY_S))
        budget.settle(hold, 75, NOON_S + day * DAY_S)
    short = budget.reserve(1, NOON_S + 2 * DAY_S)
    assert isinstance(short, Shortage)
    assert (short.period, short.left_nanos) == (MONTH, 0)
    held(budget.reserve(75, NOON_S + 5 * DAY_S))


def test_what_ended_does_not_end_again() -> None:
    budget = Budget(100, None)
    hold = held(budget.reserve(30, NOON_S))
    budget.settle(hold, 50, NOON_S)
    budget.settle(hold, 50, NOON_S)
    budget.release(hold)
    assert (budget.held, budget.spent(day_of(NOON_S))) == (0, 50)


def test_what_is_on_its_way_to_the_file_counts_until_it_is_there() -> None:
    budget = Budget(100, None)
    day = day_of(NOON_S)
    budget.settle(held(budget.reserve(40, NOON_S)), 40, NOON_S)
    assert budget.begin_saving() == {day: 40, day[:7]: 40}
    budget.settle(held(budget.reserve(30, NOON_S)), 30, NOON_S)
    assert budget.spent(day) == 70
    budget.end_saving(None)
    assert budget.spent(day) == 70
    assert budget.begin_saving()[day] == 70
    budget.end_saving({day: 95}, held_elsewhere=4)
    assert budget.spent(day) == 95
    assert isinstance(budget.reserve(2, NOON_S), Shortage)
    held(budget.reserve(1, NOON_S))


@pytest.mark.parametrize("limits", [(0, None), (None, 0), (0, 0)])
def test_what_costs_nothing_passes_a_budget_of_nothing(limits: tuple[int | None, ...]) -> None:
    budget = Budget(*limits)
    held(budget.reserve(0, NOON_S))
    assert isinstance(budget.reserve(1, NOON_S), Shortage)


class Spending(RuleBasedStateMachine):
    """One budget of 100 a day and 150 a month, against sums that are kept apart from it."""

    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(100, 150)
        self.now_s = NOON_S
        self.open: list[Hold] = []
        self.spent: dict[str, int] = {}
        self.over: dict[str, int] = {}
        """By how much attempts have cost more than was reserved for them."""

    @rule(target=holds, nanos=AMOUNT)
    def reserve(self, nanos: int) -> Hold:
        answer = self.budget.reserve(nanos, self.now_s)
        reserved = sum(hold.nanos for hold in self.open)
        fits = all(
            self.spent.get(name, 0) + reserved + nanos <= limit
            for name, limit in ((day_of(self.now_s), 100), (month_of(self.now_s), 150))
        )
        assert isinstance(answer, Hold) is (fits or nanos == 0)
        if isinstance(answer, Shortage):
            return Hold(0, ended=True)
        self.open.append(answer)
        return answer

    @rule(hold=consumes(holds), truth=AMOUNT)
    def settle(self, hold: Hold, truth: int) -> None:
        if not hold.ended:
            self._forget(hold)
            for name in (day_of(self.now_s), month_of(self.now_s)):
                self.spent[name] = self.spent.get(name, 0) + truth
                self.over[name] = self.over.get(name, 0) + max(0, truth - hold.nanos)
        self.budget.settle(hold, truth, self.now_s)

    @rule(hold=holds)
    def release(self, hold: Hold) -> None:
        if not hold.ended:
            self._forget(hold)
        self.budget.release(hold)

    @rule(seconds=st.sampled_from((1.0, DAY_S / 3, 3 * DAY_S)))
    def wait(self, seconds: float) -> None:
        # What is reserved before midnight and spent after it is the next day's.
        if not self.open:
            self.now_s += seconds

    @rule(fails=st.booleans())
    def save(self, fails: bool) -> None:
        self.budget.begin_saving()
        self.budget.end_saving(None if fails else dict(self.spent))

    @invariant()
    def nothing_is_negative_and_nothing_is_lost(self) -> None:
        assert self.budget.held == sum(hold.nanos for hold in self.open) >= 0
        for name, nanos in self.spent.items():
            assert self.budget.spent(name) == nanos

    @invariant()
    def no_limit_is_passed_by_more_than_estimates_were_wrong(self) -> None:
        reserved = sum(hold.nanos for hold in self.open)
        for name, nanos in self.spent.items():
            limit = 100 if len(name) == 10 else 150
            over = self.over.get(name, 0)
            assert nanos <= limit + over
            if name in (day_of(self.now_s), month_of(self.now_s)):
                assert nanos + reserved <= limit + over

    def _forget(self, hold: Hold) -> None:
        self.open = [other for other in self.open if other is not hold]


TestSpending = Spending.TestCase
