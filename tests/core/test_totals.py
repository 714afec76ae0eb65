"""Sums of booked rows: exact, bounded, and in the words of the contract."""

from __future__ import annotations

import random

from headgate.core.booking import (
    ANSWER,
    AT_RISK,
    AVOIDED_EXACT,
    AVOIDED_FOLLOWER,
    KINDS,
    Row,
)
from headgate.core.money import Tokens
from headgate.core.totals import OTHER, Sum, Totals, figures, sum_of


def a_row(kind: str, tokens: int = 10, nanos: int | None = 1_000_000_000, **more: bool) -> Row:
    return Row(kind, "p/m", Tokens(input=tokens), nanos, **more)


def totals_of(*rows: Row, model: str = "m") -> Totals:
    totals = Totals()
    for row in rows:
        totals.add(model, row.kind, sum_of(row))
    return totals


def test_the_cost_object_has_the_keys_of_the_contract() -> None:
    assert set(Totals().numbers()) >= {
        "served_usd", "billed_usd", "saved_usd", "at_risk_usd", "served_tokens", "billed_tokens",
        "avoided_tokens", "by_reason",
    }  # fmt: skip


def test_a_joined_call_counts_as_saved() -> None:
    numbers = totals_of(a_row(ANSWER), a_row(AVOIDED_FOLLOWER), a_row(AVOIDED_EXACT)).numbers()
    assert (numbers["served_usd"], numbers["billed_usd"], numbers["saved_usd"]) == (3, 1, 2)
    assert numbers["by_reason"][AVOIDED_FOLLOWER] == {"calls": 1, "tokens": 10, "usd": 1.0}


def test_what_is_at_risk_is_billed_and_shown() -> None:
    numbers = totals_of(a_row(AT_RISK, is_estimated=True), a_row(ANSWER)).numbers()
    assert (numbers["billed_usd"], numbers["at_risk_usd"], numbers["estimated_usd"]) == (2, 1, 1)
    assert (numbers["served_tokens"], numbers["billed_tokens"]) == (10, 20)


def test_unpriced_calls_add_tokens_no_money_and_are_shown() -> None:
    numbers = totals_of(a_row(ANSWER, nanos=None), a_row(ANSWER, nanos=None)).numbers()
    assert (numbers["billed_tokens"], numbers["billed_usd"], numbers["unpriced_calls"]) == (
        20,
        0,
        2,
    )


def test_served_and_overhead_are_billed_and_avoided_in_every_sum() -> None:
    dice = random.Random(1)
    totals = Totals()
    for _ in range(1000):
        row = a_row(dice.choice(KINDS), dice.randrange(1000), dice.choice((None, 5, 70_000)))
        totals.add(dice.choice("abc"), row.kind, sum_of(row))
    numbers = totals.numbers()
    for sums in (numbers, *numbers["by_model"].values()):
        left = sums["served_tokens"] + sums["overhead_tokens"]
        assert left == sums["billed_tokens"] + sums["avoided_tokens"]
    models = numbers["by_model"].values()
    assert sum(sums["billed_tokens"] for sums in models) == numbers["billed_tokens"]


def test_names_without_end_share_a_row() -> None:
    totals = Totals(models_max=2)
    for name in ("a", "b", "c", "d", "a"):
        totals.add(name, ANSWER, Sum(1, 1))
    by_model = totals.numbers()["by_model"]
    assert {name: sums["billed_tokens"] for name, sums in by_model.items()} == {
        "a": 2, "b": 1, OTHER: 2,
    }  # fmt: skip


def test_no_sums_are_zeros() -> None:
    assert set(figures({}).values()) == {0}
