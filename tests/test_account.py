"""The account of one call: what is booked, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from headgate.account import Account
from headgate.core.booking import (
    ABANDONED,
    ANSWER,
    AVOIDED_EXACT,
    AVOIDED_FOLLOWER,
    AVOIDED_STALE,
    Attempt,
    Row,
)
from headgate.core.money import Price, Rates
from headgate.core.outcome import GOOD, OUTCOMES
from headgate.errors import UpstreamFailed
from headgate.stream import Recorded, Whole
from headgate.types import Call, Provenance, Reply, Target, Usage, WireRequest

CALL = Call("chat", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"))
USAGE = Usage(10, 5)
PRICE = Price(Rates(1_000_000, 0, 0, 2_000_000, 0), "v1")


class Books:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.booked: list[tuple[str, str]] = []
        self.names = 0

    def price(self, target: str, tier: str = "") -> Price | None:
        return PRICE if target == "p/m" else None

    def name(self) -> str:
        self.names += 1
        return f"n{self.names}"

    def book(self, name: str, call: Call, rows: Sequence[Row]) -> None:
        assert call is CALL
        self.booked += [(name, row.kind) for row in rows]


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def account(books: Books) -> Account:
    return Account(books, CALL)


def a_reply(body: Any = None, status: int = 200, **provenance: Any) -> Reply:
    provenance.setdefault("target", "p/m")
    return Reply(status, (), body or Whole(b"{}"), USAGE, Provenance(**provenance))


GOOD_ONE = Attempt("p/m", GOOD, USAGE)


def test_a_reply_comes_back_with_what_it_cost(books: Books, account: Account) -> None:
    account.tried(GOOD_ONE)
    provenance = account.answered(a_reply()).provenance
    assert (provenance.cost_nanos, provenance.saved_nanos) == (20, 0)
    assert books.booked == [("n1", ANSWER)]


@pytest.mark.parametrize(
    ("provenance", "kind"),
    [
        ({"hit": True}, AVOIDED_EXACT),
        ({"collapsed": True}, AVOIDED_FOLLOWER),
        ({"hit": True, "detail": "stale-if-error"}, AVOIDED_STALE),
        ({"forward": "stale", "detail": "stale-if-error"}, AVOIDED_STALE),
    ],
)
def test_a_reply_that_cost_nothing_says_what_it_saved(
    books: Books, account: Account, provenance: dict[str, Any], kind: str
) -> None:
    told = account.answered(a_reply(**provenance)).provenance
    assert (told.cost_nanos, told.saved_nanos) == (0, 20)
    assert books.booked == [("n1", kind)]


def test_a_joined_call_that_failed_saved_nothing(books: Books, account: Account) -> None:
    account.answered(a_reply(status=500, collapsed=True))
    assert books.booked == []


def test_a_call_ends_once(books: Books, account: Account) -> None:
    account.tried(GOOD_ONE)
    reply = account.answered(a_reply())
    account.answered(reply)
    account.failed(asyncio.CancelledError())
    assert books.booked == [("n1", ANSWER)]


def test_an_attempt_that_ends_after_its_client_left_is_booked_under_the_same_name(
    books: Books, account: Account
) -> None:
    account.tried(Attempt("p/m", OUTCOMES["cut"], estimate=USAGE))
    account.failed(asyncio.CancelledError())
    account.tried(GOOD_ONE)
    assert books.booked == [("n1", "at_risk"), ("n1", ABANDONED)]


def test_a_price_that_nobody_knows_is_no_header(account: Account) -> None:
    account.tried(Attempt("q/m", GOOD, USAGE))
    assert account.answered(a_reply(target="q/m")).provenance.cost_nanos is None


def test_a_stream_is_booked_when_it_has_ended(books: Books, account: Account) -> None:
    reply = a_reply(Recorded(b"data: 1\n\n", (0, 0)), hit=True)
    assert books.booked == []
    account.finished(reply, None)
    assert books.booked == [("n1", AVOIDED_EXACT)]


@pytest.mark.parametrize("error", [GeneratorExit(), UpstreamFailed("broke"), KeyError()])
def test_a_stream_that_was_not_received_to_its_end_served_nothing(
    books: Books, account: Account, error: BaseException
) -> None:
    account.tried(GOOD_ONE)
    account.finished(a_reply(Recorded(b"data: 1\n\n", (0, 0))), error)
    assert [kind for _, kind in books.booked] == [ABANDONED]


class Delivered(Recorded):
    """A stream whose terminal marker its reader has got."""

    __slots__ = ("inspection", "is_delivered")


def test_who_leaves_behind_the_terminal_marker_has_everything(
    books: Books, account: Account
) -> None:
    account.tried(GOOD_ONE)
    body = Delivered(b"data: 1\n\n", (0, 0))
    body.is_delivered, body.inspection = True, None
    account.finished(a_reply(body), GeneratorExit())
    assert books.booked == [("n1", ANSWER)]
