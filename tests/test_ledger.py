"""The books of a process: sums, queued hits, what goes to the file, prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.core.booking import ANSWER, AVOIDED_EXACT, Row
from headgate.core.money import Price, Rates, Tokens
from headgate.ledger import FOLD, LATE_MAX, Ledger
from headgate.stores.base import Booked
from headgate.testing import FakeClock
from headgate.types import Call, Entry, Target, Usage, WireRequest

CALL = Call("chat", "m", WireRequest("/", b"", ()), b"k", b"s" * 32, Target("p", "m"))
ENTRY = Entry(b"k", b"s" * 32, "m", "chat", 0.0, 1.0, b"", usage=Usage(10, 5), target="p/m")


class Listed:
    """One model has a price, which changes by the day."""

    def __init__(self) -> None:
        self.asked = 0
        self.nanos = 1_000_000
        self.is_loading = False

    def price(
        self, provider: str, model: str, tier: str = "", *, batch: bool = False
    ) -> Price | None:
        self.asked += 1
        rates = Rates(self.nanos, 0, 0, 2 * self.nanos, 0)
        is_listed = (provider, model) == ("p", "m") and not self.is_loading
        return Price(rates, f"v1{tier}") if is_listed else None

    def is_pending(self, provider: str, model: str) -> bool:
        return self.is_loading

    def resolve(
        self, provider: str, model: str, tier: str = "", *, batch: bool = False
    ) -> Price | None:
        self.is_loading = False
        return self.price(provider, model, tier)


class Kept:
    """A journal in a list."""

    def __init__(self) -> None:
        self.before_writing: Callable[[], None] = list
        self.rows: list[Booked] = []
        self.is_closed = False

    def append(self, rows: Sequence[Booked]) -> None:
        assert not self.is_closed
        self.rows += rows

    def flush(self) -> bool:
        return True

    def problem(self) -> str:
        return "full"

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def prices() -> Listed:
    return Listed()


@pytest.fixture
def journal() -> Kept:
    return Kept()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(prices: Listed, journal: Kept, clock: FakeClock) -> Ledger:
    return Ledger(prices, clock, journal)


def figures(ledger: Ledger) -> tuple[Any, ...]:
    numbers = ledger.numbers()
    return numbers["served_tokens"], numbers["billed_tokens"], numbers["avoided_tokens"]


def test_rows_are_added_up_and_kept(ledger: Ledger, journal: Kept, clock: FakeClock) -> None:
    row = Row(ANSWER, "p/m", Tokens(input=10), 7)
    ledger.book("n", CALL, [row])
    assert figures(ledger) == (10, 10, 0)
    assert journal.rows == [Booked(clock.epoch(), "n", "m", "73" * 8, row)]


def test_hits_wait_and_are_booked_together(ledger: Ledger, journal: Kept) -> None:
    for _ in range(5):
        ledger.record_hit(ENTRY)
    assert journal.rows == []
    journal.before_writing()
    (booked,) = journal.rows
    assert (booked.row.kind, booked.row.calls, booked.row.cost_nanos) == (AVOIDED_EXACT, 5, 100)
    assert figures(ledger) == (75, 0, 75)


def test_no_more_than_so_many_hits_wait(ledger: Ledger, journal: Kept) -> None:
    for _ in range(FOLD):
        ledger.record_hit(ENTRY)
    assert [booked.row.calls for booked in journal.rows] == [FOLD]


def test_hits_of_many_threads_are_all_counted(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: [ledger.record_hit(ENTRY) for _ in range(1000)], range(4)))
    assert figures(ledger) == (60_000, 0, 60_000)


def test_hits_of_two_tenants_are_two_rows(ledger: Ledger, journal: Kept) -> None:
    ledger.record_hit(ENTRY)
    ledger.record_hit(replace(ENTRY, scope=b"t" * 32))
    ledger.settle()
    assert [booked.tenant for booked in journal.rows] == ["73" * 8, "74" * 8]


def test_a_hit_of_an_answer_without_usage_is_no_row(ledger: Ledger, journal: Kept) -> None:
    ledger.record_hit(replace(ENTRY, usage=Usage()))
    ledger.settle()
    assert journal.rows == []


def test_what_a_hit_saves_is_told_in_dollars_and_looked_up_once(
    ledger: Ledger, prices: Listed
) -> None:
    for _ in range(3):
        assert ledger.saved_usd(ENTRY) == b"0.00000002"
    assert prices.asked == 1
    assert ledger.saved_usd(replace(ENTRY, target="q/m")) == b""


def test_a_hit_is_worth_what_the_price_is_today(
    ledger: Ledger, prices: Listed, clock: FakeClock
) -> None:
    ledger.saved_usd(ENTRY)
    prices.nanos *= 10
    assert ledger.saved_usd(ENTRY) == b"0.00000002"
    clock.advance(86_400)
    assert ledger.saved_usd(ENTRY) == b"0.0000002"


def test_a_row_whose_price_is_late_waits_for_it(
    ledger: Ledger, prices: Listed, journal: Kept
) -> None:
    prices.is_loading = True
    ledger.book("n", CALL, [Row(ANSWER, "p/m", Tokens(input=10), None, tier="flex")])
    for _ in range(3):
        ledger.record_hit(ENTRY)
    assert ledger.saved_usd(ENTRY) == b""
    assert journal.rows == []
    journal.before_writing()
    told = {(b.row.kind, b.row.calls, b.row.cost_nanos, b.row.price_version) for b in journal.rows}
    assert told == {(ANSWER, 1, 10, "v1flex"), (AVOIDED_EXACT, 3, 60, "v1")}
    assert ledger.numbers()["unpriced_calls"] == 0


def test_no_more_than_so_many_rows_wait_for_a_price(
    ledger: Ledger, prices: Listed, journal: Kept
) -> None:
    prices.is_loading = True
    row = Row(ANSWER, "p/m", Tokens(input=10), None)
    ledger.book("n", CALL, [row] * (LATE_MAX + 2))
    assert [booked.row.cost_nanos for booked in journal.rows] == [None, None]
    ledger.settle()
    assert len(journal.rows) == LATE_MAX + 2


def test_names_of_calls_differ(ledger: Ledger) -> None:
    assert len({ledger.name() for _ in range(100)}) == 100


def test_a_successor_goes_on_with_the_sums(
    ledger: Ledger, prices: Listed, clock: FakeClock
) -> None:
    ledger.record_hit(ENTRY)
    successor = Ledger(prices, clock, before=ledger)
    ledger.record_hit(ENTRY)
    assert figures(successor) == figures(ledger) == (30, 0, 30)


def test_closing_writes_what_waits(ledger: Ledger, journal: Kept) -> None:
    ledger.record_hit(ENTRY)
    ledger.close()
    assert journal.is_closed
    assert len(journal.rows) == 1


def test_its_problem_is_that_of_the_file(ledger: Ledger, prices: Listed, clock: FakeClock) -> None:
    assert ledger.problem() == "full"
    assert Ledger(prices, clock).problem() == ""
