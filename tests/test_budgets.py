"""Budgets of several processes over one real file: nobody spends what another has, a killed one
leaves nothing locked, a restart forgets nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from keyring import a_record

from headgate.budgets import LEASE_S, RENEW_S, Purse, Purses
from headgate.clock import Clock
from headgate.core.budget import Hold, day_of
from headgate.errors import SpendExhausted, StoreError
from headgate.stores.keys import KeyStore
from headgate.testing import FakeClock

LIMIT = 100
RECORD = a_record(id="a", family="f", day_nanos=LIMIT)


class Process:
    """One process with the budget of one key."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.store = KeyStore(path)
        self.purses = Purses(clock, takes_unpriced=False)
        purse = self.purses.of(RECORD)
        assert purse is not None
        self.purse: Purse = purse
        self.open: list[Hold] = []
        self.unsaved = 0
        self.even_out()

    def even_out(self) -> None:
        self.purses.even_out(self.store, has_news=True)
        self.unsaved = 0

    def reserve(self, nanos: int) -> bool:
        try:
            self.open.append(self.purse.reserve(nanos))
        except SpendExhausted:
            return False
        return True

    def settle(self, truth: int) -> None:
        self.purse.settle(self.open.pop(), truth)
        self.unsaved += truth

    @property
    def held(self) -> int:
        return sum(hold.nanos for hold in self.open)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def two(tmp_path: Path, clock: FakeClock) -> Iterator[tuple[Process, Process]]:
    made = [Process(tmp_path / "keys.db", clock) for _ in range(2)]
    yield made[0], made[1]
    for process in made:
        process.store.close()


def test_keys_without_a_limit_have_no_purse_and_those_of_a_rotation_one(clock: FakeClock) -> None:
    purses = Purses(clock, takes_unpriced=True)
    assert purses.of(a_record()) is None
    one = purses.of(a_record(id="a", family="f", month_nanos=0))
    assert one is not None
    assert one.takes_unpriced
    assert purses.of(a_record(id="b", family="f", month_nanos=0)) is one


def test_what_one_process_has_reserved_another_cannot(two: tuple[Process, Process]) -> None:
    first, second = two
    assert first.reserve(70)
    first.even_out()
    second.even_out()
    assert not second.reserve(31)
    assert second.reserve(30)
    second.even_out()
    first.settle(10)
    first.even_out()
    second.even_out()
    assert second.reserve(60)


def test_the_refusal_says_what_is_left_and_until_when(two: tuple[Process, Process]) -> None:
    first, _ = two
    assert first.reserve(70)
    with pytest.raises(SpendExhausted) as caught:
        first.purse.reserve(40)
    error = caught.value
    assert error.status_hint == 402
    assert "$0.00000004" in error.message
    assert "$0.0000001 that this key may spend in a day $0.00000003 are left" in error.message
    assert error.retry_after_s == 86_400.0
    assert not error.sent


def test_what_was_spent_survives_a_restart(
    two: tuple[Process, Process], tmp_path: Path, clock: FakeClock
) -> None:
    first, _ = two
    assert first.reserve(70)
    first.settle(90)
    first.even_out()
    again = Process(tmp_path / "keys.db", clock)
    assert not again.reserve(11)
    assert again.reserve(10)
    clock.advance(86_400)
    assert again.reserve(90)
    again.store.close()


def test_what_a_killed_process_had_reserved_comes_back(
    two: tuple[Process, Process], clock: FakeClock
) -> None:
    killed, other = two
    assert killed.reserve(100)
    killed.even_out()
    other.even_out()
    assert not other.reserve(1)
    clock.advance(LEASE_S + 0.1)
    other.purses.even_out(other.store)
    assert other.reserve(100), "without any news in the file"


def test_what_is_still_under_way_is_said_again_in_time(
    two: tuple[Process, Process], clock: FakeClock
) -> None:
    busy, other = two
    assert busy.reserve(100)
    for _ in range(20):
        busy.purses.even_out(busy.store)
        clock.advance(RENEW_S)
    other.even_out()
    assert not other.reserve(1)


def test_a_file_that_fails_costs_nothing_but_the_news(
    two: tuple[Process, Process], tmp_path: Path, clock: FakeClock
) -> None:
    first, _ = two
    assert first.reserve(60)
    first.settle(60)
    first.store.close()
    with pytest.raises(StoreError):
        first.purses.even_out(first.store)
    assert not first.reserve(41)
    first.store = KeyStore(tmp_path / "keys.db")
    first.even_out()
    assert first.store.spent()["f"][day_of(clock.epoch())] == 60


def test_where_nothing_is_new_nothing_is_written(two: tuple[Process, Process]) -> None:
    first, second = two
    first.even_out()
    version = second.store.version()
    for _ in range(5):
        first.purses.even_out(first.store)
        first.purses.even_out(first.store, has_news=True)
    assert second.store.version() == version


class Processes(RuleBasedStateMachine):
    """Up to three processes that reserve, settle, tell the file, are killed and started again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "keys.db"
        self.clock = FakeClock()
        self.running = [Process(self.path, self.clock)]
        self.killed: list[Process] = []
        self.spent = self.over = self.lost = self.unseen = 0
        """Nano-dollars: spent; cost more than was reserved; forgotten by a kill; reserved while
        another process did not know yet of something that was there."""

    def teardown(self) -> None:
        for process in (*self.running, *self.killed):
            process.store.close()
        self.folder.cleanup()

    def _one(self, number: int) -> Process:
        return self.running[number % len(self.running)]

    @rule(number=st.integers(0, 2), nanos=st.integers(1, 60))
    def reserve(self, number: int, nanos: int) -> None:
        process = self._one(number)
        there = self.spent + sum(other.held for other in self.running) + nanos
        if process.reserve(nanos) and there > LIMIT + self.over:
            assert len(self.running) > 1 or self.lost, "one alone knows everything"
            self.unseen += nanos

    @rule(number=st.integers(0, 2), truth=st.integers(0, 60))
    def settle(self, number: int, truth: int) -> None:
        process = self._one(number)
        if process.open:
            self.spent += truth
            self.over += max(0, truth - process.open[-1].nanos)
            process.settle(truth)

    @rule(number=st.integers(0, 2))
    def release(self, number: int) -> None:
        process = self._one(number)
        if process.open:
            process.purse.release(process.open.pop())

    @rule(number=st.integers(0, 2))
    def even_out(self, number: int) -> None:
        self._one(number).even_out()

    @rule()
    def start(self) -> None:
        if len(self.running) < 3:
            self.running.append(Process(self.path, self.clock))

    @rule(number=st.integers(0, 2))
    def kill(self, number: int) -> None:
        process = self._one(number)
        self.running.remove(process)
        self.killed.append(process)
        self.lost += process.unsaved
        if not self.running:
            self.running.append(Process(self.path, self.clock))

    @rule()
    def all_hear_of_all_and_the_killed_are_forgotten(self) -> None:
        self.clock.advance(LEASE_S + 1)
        for _ in range(2):
            for process in self.running:
                process.even_out()
        known = self.running[0].store.spent().get("f", {}).get(day_of(self.clock.epoch()), 0)
        assert known == self.spent - self.lost
        free = LIMIT - known - sum(process.held for process in self.running)
        if free > 0:
            assert not self.running[0].reserve(free + 1)
            assert self.running[0].reserve(free)
            self.running[0].purse.release(self.running[0].open.pop())
            for process in self.running:
                process.even_out()

    @invariant()
    def nothing_is_negative_and_the_bound_holds(self) -> None:
        for process in self.running:
            assert process.purse.held() == process.held >= 0
        assert self.spent <= LIMIT + self.over + self.unseen


Processes.TestCase.settings = settings(max_examples=25, stateful_step_count=30)
TestProcesses = Processes.TestCase
