"""What several calls are booked of one request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from headgate.account import Account
from headgate.account_joint import JointAccount
from headgate.core.booking import ABANDONED, ANSWER, AVOIDED_EXACT, HEDGE_WASTE, Attempt, Row, count
from headgate.core.money import Price, Rates
from headgate.core.outcome import GOOD, OUTCOMES
from headgate.stream import Whole
from headgate.trail import Trail
from headgate.types import Call, Provenance, Reply, Target, Usage, WireRequest

CALL = Call("embeddings", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"))
PRICE = Price(Rates(1_000_000_000, 0, 0, 0, 0), "v1")
"""1000 nano-dollars a token."""
OK_REPLY = Reply(200, (), Whole(b"{}"), provenance=Provenance(target="p/m"))


class Books:
    """Writes down what it is told, by call."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def price(self, target: str, tier: str = "") -> Price | None:
        return PRICE if target == "p/m" else None

    resolved_price = price

    def name(self) -> str:
        return "n"

    def book(self, name: str, call: Call, rows: Sequence[Row]) -> None:
        self.rows += rows

    def told(self) -> list[tuple[str, int]]:
        return [(row.kind, count(row.tokens)) for row in self.rows]


@pytest.fixture
def books() -> list[Books]:
    return [Books(), Books()]


def joint(books: Sequence[Books], weights: Sequence[int] = (1, 1, 2)) -> tuple[Any, list[Account]]:
    """An account of three inputs: two of the first call, one of the second."""
    accounts = [Account(one, CALL) for one in books]
    return JointAccount([accounts[0], accounts[1], accounts[0]], weights), accounts


def an_attempt(tokens: int, reason: str = "", target: str = "p/m") -> Attempt:
    usage = Usage(tokens) if tokens else Usage()
    return Attempt(target, OUTCOMES[reason] if reason else GOOD, usage, Usage(40))


def test_the_parts_of_the_answer_are_each_calls_answer_and_sum_to_the_bill(
    books: list[Books],
) -> None:
    whole, accounts = joint(books)
    whole.tried(an_attempt(11))
    assert books[0].rows == books[1].rows == []
    whole.over(OK_REPLY)
    for account in accounts:
        account.answered(OK_REPLY)
    assert [one.told() for one in books] == [[(ANSWER, 8)], [(ANSWER, 3)]]
    assert sum(row.cost_nanos or 0 for one in books for row in one.rows) == 11_000


def test_what_has_no_answer_is_shared_out_by_its_estimate(books: list[Books]) -> None:
    whole, accounts = joint(books)
    whole.tried(an_attempt(0, "cut"))
    whole.over(None)
    whole.over(None)
    for account in accounts:
        account.failed(ValueError())
    assert [one.told() for one in books] == [[("at_risk", 30)], [("at_risk", 10)]]


def test_of_two_attempts_one_is_the_answer_and_a_late_one_is_for_nobody(
    books: list[Books],
) -> None:
    whole, accounts = joint(books)
    whole.tried(an_attempt(4, target="q/m"))
    whole.tried(an_attempt(8))
    whole.over(OK_REPLY)
    accounts[0].answered(OK_REPLY)
    whole.tried(an_attempt(12, "left"))
    assert [kind for kind, _ in books[0].told()] == [HEDGE_WASTE, ANSWER, HEDGE_WASTE]
    accounts[1].failed(asyncio.CancelledError())
    assert {kind for kind, _ in books[1].told()} == {ABANDONED}


def test_two_requests_may_each_bring_a_part_of_one_answer(books: list[Books]) -> None:
    account = Account(books[0], CALL)
    for _ in range(2):
        part = JointAccount([account], [1])
        part.tried(an_attempt(5))
        part.over(OK_REPLY)
    hit = Reply(200, (), Whole(b""), Usage(7), Provenance(hit=True, target="p/m"))
    account.spared(hit)
    priced = account.answered(OK_REPLY)
    assert books[0].told() == [(ANSWER, 5), (ANSWER, 5), (AVOIDED_EXACT, 7)]
    assert (priced.provenance.cost_nanos, priced.provenance.saved_nanos) == (10_000, 7_000)


def test_what_a_budget_pays_is_the_sum_of_the_rows(books: list[Books]) -> None:
    whole, _ = joint(books)
    assert whole.billed(an_attempt(11)) == 11_000
    assert whole.billed(an_attempt(11, target="q/m")) is None
    assert asyncio.run(whole.standard_price("p/m")) is PRICE


def test_the_attempt_is_on_the_trail_of_every_call_that_keeps_one(books: list[Books]) -> None:
    accounts = [Account(one, CALL) for one in books]
    assert JointAccount(accounts, [1, 1]).trail is None
    trail = accounts[1].trail = Trail(lambda: 5.0)
    noted = JointAccount([*accounts, accounts[1]], [1, 1, 1]).trail
    assert noted is not None
    began = noted.begin("p/m")
    noted.first(began)
    noted.end(began, GOOD, OK_REPLY)
    assert [(one.target, one.status, one.first_s) for one in trail.tries] == [("p/m", 200, 5.0)]
