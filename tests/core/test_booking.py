"""What a call is booked as, case by case, and the invariant over histories that were thrown."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from headgate.core.booking import (
    ABANDONED,
    ANSWER,
    ANSWERED,
    AT_RISK,
    AVOIDED,
    AVOIDED_EXACT,
    AVOIDED_FOLLOWER,
    AVOIDED_STALE,
    BILLED,
    FAILED,
    HEDGE_WASTE,
    KINDS,
    LEFT,
    OVERHEAD,
    RETRY,
    SPARED,
    Attempt,
    Row,
    Spared,
    count,
    nanos_in,
    rows_of,
    spared_row,
)
from headgate.core.money import Price, Rates
from headgate.core.outcome import OUTCOMES
from headgate.types import NO_USAGE, Usage

PRICE = Price(Rates(3_000_000_000, 300_000_000, 3_750_000_000, 15_000_000_000, 6_000_000_000), "v1")
USAGE = Usage(100, 20, tokens_cached=40)
NANOS = 60 * 3000 + 40 * 300 + 20 * 15_000
ESTIMATE = Usage(90, 7)


def an_attempt(reason: str = "ok", target: str = "p/m", **more: object) -> Attempt:
    fields = {"usage": USAGE if reason == "ok" else NO_USAGE, "estimate": ESTIMATE, "price": PRICE}
    return Attempt(target, OUTCOMES[reason], **{**fields, **more})  # type: ignore[arg-type]


def told(rows: Sequence[Row]) -> list[tuple[str, int, bool]]:
    return [(row.kind, count(row.tokens), row.is_estimated) for row in rows]


def test_an_answer_is_billed_by_what_the_provider_counted() -> None:
    (row,) = rows_of([an_attempt()], ANSWERED, "p/m")
    assert (row.kind, count(row.tokens), row.is_estimated) == (ANSWER, 120, False)
    assert (row.tokens.input, row.tokens.cache_read, row.tokens.output) == (60, 40, 20)
    assert (row.cost_nanos, row.price_version) == (NANOS, "v1")


def test_an_answer_that_nobody_counted_is_estimated() -> None:
    rows = rows_of([an_attempt(usage=NO_USAGE)], ANSWERED)
    assert told(rows) == [(ANSWER, 97, True)]


def test_an_answer_of_which_only_the_prompt_was_counted_is_estimated() -> None:
    rows = rows_of([an_attempt(usage=Usage(100, 0))], ANSWERED)
    assert told(rows) == [(ANSWER, 107, True)], "the provider's input, our count of the output"
    rows = rows_of([an_attempt(usage=Usage(100, 0), estimate=NO_USAGE)], ANSWERED)
    assert told(rows) == [(ANSWER, 100, False)], "it has said nothing"


@pytest.mark.parametrize("reason", ["server_error", "rate_limit", "bad_request", "unavailable"])
def test_a_refusal_with_a_status_costs_what_usage_it_reports(reason: str) -> None:
    assert rows_of([an_attempt(reason)], FAILED) == []
    assert told(rows_of([an_attempt(reason, usage=USAGE)], FAILED)) == [(RETRY, 120, False)]


@pytest.mark.parametrize(
    "reason", ["reset", "first_token_timeout", "cut", "bad_payload", "reply_too_large"]
)
def test_an_attempt_without_a_usable_answer_is_at_risk_and_never_nothing(reason: str) -> None:
    rows = rows_of([an_attempt(reason), an_attempt()], ANSWERED, "p/m")
    assert told(rows) == [(AT_RISK, 97, True), (ANSWER, 120, False)]


@pytest.mark.parametrize("reason", ["unreachable", "connect_timeout", "refused"])
def test_what_was_not_sent_costs_nothing(reason: str) -> None:
    assert rows_of([an_attempt(reason)], FAILED) == []


def test_a_stream_whose_client_left_is_abandoned_with_what_had_come() -> None:
    partly = Usage(100, 1)
    rows = rows_of([an_attempt("left", usage=partly)], LEFT)
    assert told(rows) == [(ABANDONED, 107, True)], "the provider's input, our count of the output"


def test_an_answer_that_came_for_a_client_who_had_left_is_exact() -> None:
    assert told(rows_of([an_attempt()], LEFT)) == [(ABANDONED, 120, False)]


@pytest.mark.parametrize("loser", ["left", "ok"])
def test_the_loser_of_a_hedge_is_waste(loser: str) -> None:
    rows = rows_of([an_attempt(loser, "q/m"), an_attempt()], ANSWERED, "p/m")
    assert [row.kind for row in rows] == [HEDGE_WASTE, ANSWER]
    rows = rows_of([an_attempt(), an_attempt(loser, "q/m")], ANSWERED, "p/m")
    assert [row.kind for row in rows] == [ANSWER, HEDGE_WASTE]


@pytest.mark.parametrize("kind", sorted(AVOIDED))
def test_an_answer_for_nothing_is_avoided_at_its_price(kind: str) -> None:
    (row,) = rows_of([], SPARED, "p/m", [Spared(kind, "p/m", USAGE, PRICE)])
    assert (row.kind, row.cost_nanos) == (kind, NANOS)


def test_a_stale_answer_is_avoided_and_the_attempt_before_it_billed() -> None:
    rows = rows_of([an_attempt("cut")], SPARED, "p/m", [Spared(AVOIDED_STALE, "p/m", USAGE, PRICE)])
    assert [row.kind for row in rows] == [AT_RISK, AVOIDED_STALE]


def test_without_a_price_the_cost_is_unknown_and_not_nothing() -> None:
    rows = rows_of([an_attempt(price=None)], ANSWERED)
    assert rows[0].cost_nanos is None
    assert nanos_in(rows, BILLED) is None
    assert nanos_in(rows, AVOIDED) == 0


def test_many_hits_are_one_row_that_costs_as_much_as_each() -> None:
    spared = Spared(AVOIDED_EXACT, "p/m", USAGE, PRICE)
    one, many = spared_row(spared), spared_row(spared, 7)
    assert (many.calls, many.cost_nanos) == (7, 7 * NANOS)
    assert count(many.tokens) == 7 * count(one.tokens)


def test_the_parts_of_every_history_sum() -> None:
    """`billed = answer + overhead`, `served = answer + avoided`, and what was served is what the
    client has received, to the token."""
    dice = random.Random(4)
    reasons = sorted(OUTCOMES)
    for _ in range(5000):
        attempts = [
            an_attempt(
                dice.choice(reasons),
                dice.choice(("p/m", "q/m")),
                usage=dice.choice((USAGE, NO_USAGE)),
                price=dice.choice((PRICE, None)),
            )
            for _ in range(dice.randrange(5))
        ]
        end = dice.choice((ANSWERED, FAILED, LEFT, SPARED))
        spared = Spared(dice.choice(sorted(AVOIDED)), "p/m", USAGE, PRICE)
        rows = rows_of(attempts, end, dice.choice(("p/m", "")), [spared])
        tokens = {
            kinds: sum(count(row.tokens) for row in rows if row.kind in kinds)
            for kinds in (BILLED, AVOIDED, OVERHEAD, frozenset({ANSWER}))
        }
        answer = tokens[frozenset({ANSWER})]
        assert tokens[BILLED] == answer + tokens[OVERHEAD]
        assert answer + tokens[AVOIDED] + tokens[OVERHEAD] == tokens[BILLED] + tokens[AVOIDED]
        assert sum(row.kind == ANSWER for row in rows) <= (end == ANSWERED)
        assert tokens[AVOIDED] == (120 if end in (SPARED, ANSWERED) else 0)
        assert sum(row.kind in BILLED for row in rows) <= sum(a.outcome.sent for a in attempts)


def test_every_kind_is_billed_or_avoided() -> None:
    assert set(KINDS) == BILLED | AVOIDED
    assert not BILLED & AVOIDED
    assert AVOIDED_FOLLOWER in KINDS
