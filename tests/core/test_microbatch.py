"""Which calls go upstream together, and when."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headgate.core.microbatch import Arrival, Batch, BatchBounds, Lot, Station

BOUNDS = BatchBounds(items_max=4, tokens_max=100, delay_s=0.005, queue_max=50, under_way_max=2)


def an_input(member: Any, tenant: str = "t", **more: Any) -> Arrival:
    fields: dict[str, Any] = {"owner": member, "tokens": 1, "is_alone": True, **more}
    return Arrival(member=member, tenant=tenant, **fields)


def arrived(
    station: Station, *members: Any, at_s: float = 0.0, name: str = "q", **more: Any
) -> None:
    for member in members:
        assert station.arrive(name, an_input(member, **more), at_s) is not None


def members_of(batch: Batch | None) -> list[Any]:
    return [] if batch is None else [member for lot in batch.lots for member in lot.members]


def test_where_nothing_is_under_way_a_call_goes_at_once() -> None:
    station = Station(BOUNDS)
    arrived(station, 1)
    assert members_of(station.next(0.0)) == [1]
    assert station.next(0.0) is None


def test_while_one_is_under_way_others_wait_for_company_and_no_longer_than_the_delay() -> None:
    station = Station(BOUNDS)
    arrived(station, 1)
    station.next(0.0)
    arrived(station, 2, at_s=0.001)
    arrived(station, 3, at_s=0.003)
    assert station.next(0.005) is None
    assert station.wake_s() == pytest.approx(0.006)
    assert members_of(station.next(0.006)) == [2, 3]


def test_the_end_of_what_is_under_way_ends_the_wait() -> None:
    station = Station(BOUNDS)
    arrived(station, 1)
    first = station.next(0.0)
    assert first is not None
    arrived(station, 2, at_s=0.001)
    station.over(first, 0.002)
    assert members_of(station.next(0.002)) == [2]


@pytest.mark.parametrize("full", [{"tokens": 1}, {"tokens": 34}])
def test_what_is_full_waits_for_nothing(full: dict[str, int]) -> None:
    station = Station(BOUNDS)
    arrived(station, 0)
    station.next(0.0)
    arrived(station, 1, 2, 3, **full)
    if full["tokens"] == 1:
        assert station.next(0.0) is None, "three of four"
        arrived(station, 4)
        assert members_of(station.next(0.0)) == [1, 2, 3, 4]
    else:
        assert members_of(station.next(0.0)) == [1, 2], "102 tokens are too many"


def test_a_list_goes_at_once_undivided_and_takes_along_who_fits() -> None:
    station = Station(BOUNDS)
    arrived(station, 0)
    station.next(0.0)
    arrived(station, 1)
    arrived(station, *range(10, 17), owner="list", is_alone=False)
    assert members_of(station.next(0.0)) == [1], "seven more are too many"
    station = Station(BOUNDS)
    arrived(station, *range(10, 17), owner="list", is_alone=False)
    assert members_of(station.next(0.0)) == [*range(10, 17)]


def test_who_has_no_company_goes_alone() -> None:
    station = Station(BatchBounds(items_max=4))
    arrived(station, 1)
    arrived(station, 2, joins=False)
    arrived(station, 3)
    batches = [members_of(station.next(0.0)) for _ in range(2)]
    assert batches == [[1], [2]]


def test_who_has_little_time_waits_less_and_takes_the_earlier_ones_along() -> None:
    station = Station(BatchBounds(items_max=4, delay_s=0.05))
    arrived(station, 0)
    first = station.next(0.0)
    assert first is not None
    arrived(station, 1)
    station.over(first, 0.010)
    arrived(station, 2)
    second = station.next(0.010)
    assert members_of(second) == [1, 2]
    arrived(station, 3, at_s=0.020)
    arrived(station, 4, at_s=0.021, slack_s=0.012)
    assert station.wake_s() == pytest.approx(0.021 + 0.012 - 0.010), "an answer takes 10 ms"
    assert members_of(station.next(0.023)) == [3, 4]


def test_who_leaves_is_not_asked_for() -> None:
    station = Station(BOUNDS)
    arrived(station, 0)
    first = station.next(0.0)
    lot = station.arrive("q", an_input(1), 0.0)
    assert lot is not None
    station.leave("q", lot, 1, 1)
    assert not lot.is_waiting
    assert station.next(1.0) is None
    assert first is not None
    station.over(first, 1.0)
    assert station.is_idle


def test_a_full_queue_takes_nobody_and_another_one_does() -> None:
    station = Station(BatchBounds(queue_max=2, under_way_max=1))
    arrived(station, 0, name="other")
    station.next(0.0)
    arrived(station, 1, 2)
    assert station.arrive("q", an_input(3), 0.0) is None
    arrived(station, 4, name="third")


def test_one_with_ten_thousand_inputs_delays_another_by_two_requests_at_most() -> None:
    for mixed in (False, True):
        station = Station(BatchBounds(items_max=32, under_way_max=1))
        for number in range(10_000):
            station.arrive("a", an_input(number, "a"), 0.0)
        first = station.next(0.0)
        assert first is not None
        station.arrive("a" if mixed else "b", an_input("one", "b"), 0.0)
        waited = 0
        while True:
            station.over(first, 0.0)
            following = station.next(0.0)
            assert following is not None
            waited += 1
            first = following
            if "one" in members_of(following):
                break
        assert waited <= 2


def test_no_more_than_so_many_are_under_way_at_one_place() -> None:
    station = Station(BOUNDS)
    for name in "abc":
        arrived(station, name, name=name)
    assert [members_of(station.next(0.0)) for _ in range(3)] == [["a"], ["b"], []]
    assert station.wake_s() == math.inf


class Waiting(RuleBasedStateMachine):
    """Everybody who arrives is asked for once, or has left before."""

    @initialize(
        items_max=st.integers(1, 6), tokens_max=st.integers(1, 30), under_way_max=st.integers(1, 3)
    )
    def begin(self, items_max: int, tokens_max: int, under_way_max: int) -> None:
        self.bounds = BatchBounds(items_max, tokens_max, 0.005, 40, under_way_max)
        self.station = Station(self.bounds)
        self.now_s = 0.0
        self.waiting: dict[int, tuple[str, Lot, int]] = {}
        self.lots: dict[int, list[int]] = {}
        self.asked: set[int] = set()
        self.under_way: list[Batch] = []
        self.number = 0

    @rule(
        name=st.sampled_from("qr"), tenant=st.sampled_from("abc"), size=st.integers(1, 9),
        tokens=st.integers(1, 20), slack_s=st.sampled_from([math.inf, 0.001]), joins=st.booleans(),
    )  # fmt: skip
    def arrive(
        self, name: str, tenant: str, size: int, tokens: int, slack_s: float, joins: bool
    ) -> None:
        owner = object()
        mine = []
        for _ in range(size):
            self.number += 1
            arrival = Arrival(self.number, owner, tenant, tokens, size == 1, joins, slack_s)
            lot = self.station.arrive(name, arrival, self.now_s)
            if lot is not None:
                self.waiting[self.number] = name, lot, tokens
                mine.append(self.number)
        self.lots |= dict.fromkeys(mine, mine)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        member = data.draw(st.sampled_from(sorted(self.waiting)))
        name, lot, tokens = self.waiting.pop(member)
        self.station.leave(name, lot, member, tokens)
        self.lots[member].remove(member)

    @rule(passed_s=st.sampled_from([0.0, 0.001, 0.005, 1.0]))
    def look(self, passed_s: float) -> None:
        self.now_s += passed_s
        while (batch := self.station.next(self.now_s)) is not None:
            members = members_of(batch)
            self.under_way.append(batch)
            names = {self.waiting[member][0] for member in members}
            assert names == {batch.queue.name}, "of one kind"
            for lot in batch.lots:
                assert lot.members == self.lots[lot.members[0]], "undivided"
            sizes = [len(lot.members) for lot in batch.lots]
            assert len(sizes) == 1 or sum(sizes) <= self.bounds.items_max
            tokens = sum(lot.tokens for lot in batch.lots)
            assert len(sizes) == 1 or tokens <= self.bounds.tokens_max
            for member in members:
                assert member not in self.asked
                del self.waiting[member]
            self.asked.update(members)
        has_room = len(self.under_way) < self.bounds.under_way_max
        assert self.station.wake_s() > self.now_s or not has_room
        if has_room:
            busy = {batch.queue.name for batch in self.under_way}
            assert all(name in busy for name, _, _ in self.waiting.values())

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def end(self, data: Any) -> None:
        batch = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.station.over(batch, self.now_s)

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "station"):
            assert self.station.under_way == len(self.under_way)
            assert self.station.is_idle == (not self.waiting and not self.under_way)


Waiting.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWaiting = Waiting.TestCase
