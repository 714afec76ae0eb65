"""What the demo tells of its calls."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.demo.report import (
    COLUMNS,
    HIT,
    JOINED,
    UPSTREAM,
    Asked,
    conclusion,
    disagreements,
    rows,
    total,
)

STORED = "headgate; fwd=miss; stored"
CALLS = [
    Asked(STORED, 400.0, 2_000, 2_000),
    Asked("headgate; fwd=miss; collapsed", 200.0, 2_000, 2_000),
    Asked("headgate; hit; ttl=3600", 2.0, 2_000, 2_000),
    Asked("headgate; hit; ttl=3599", 4.0, 2_000, 2_000),
]


def books(**changed: Any) -> dict[str, Any]:
    """A gateway's numbers that agree with CALLS, but for what is changed."""
    by_model = {"m": {"tokens": 4_000}}
    agreeing = {"total_calls": 4, "cache_hits": 2, "total_errors": 0, "by_model": by_model}
    return {**agreeing, **changed}


@pytest.mark.parametrize(
    ("cache_status", "kind"),
    [
        ("headgate; hit; ttl=9", HIT),
        ("headgate; hit; ttl=-9; detail=stale-if-error", HIT),
        ("headgate; fwd=miss; collapsed", JOINED),
        (STORED, UPSTREAM),
        ("headgate; fwd=bypass", UPSTREAM),
        ("headgate; fwd=miss; detail=hit-or-miss", UPSTREAM),
        ("", UPSTREAM),
    ],
)
def test_the_header_says_how_a_call_was_answered(cache_status: str, kind: str) -> None:
    assert Asked(cache_status, 1.0, 1, 1).kind == kind


def test_a_call_costs_its_tokens_at_the_price_of_each_side() -> None:
    assert Asked(STORED, 1.0, 1_000_000, 0).cost_usd == pytest.approx(0.15)
    assert Asked(STORED, 1.0, 0, 1_000_000).cost_usd == pytest.approx(0.60)


def test_sums_of_no_calls_are_0() -> None:
    nothing = total([])
    assert (nothing.calls, nothing.tokens, nothing.cost_usd) == (0, 0, 0)
    assert (nothing.p50_ms, nothing.p95_ms, nothing.sum_ms) == (0, 0, 0)


@pytest.mark.parametrize(
    ("latencies", "p50", "p95"),
    [([7], 7, 7), ([1, 2], 1, 2), ([3, 1, 2], 2, 3), (range(1, 101), 50, 95), (range(20), 9, 18)],
)
def test_percentiles_are_those_of_the_nearest_rank(latencies: Any, p50: int, p95: int) -> None:
    sums = total([Asked(STORED, float(latency), 0, 0) for latency in latencies])
    assert (sums.p50_ms, sums.p95_ms, sums.sum_ms) == (p50, p95, sum(latencies))


def test_the_table_has_a_row_for_each_way_and_their_sum() -> None:
    assert rows(CALLS) == [
        (UPSTREAM, "1", "25.0%", "400.0", "400.0", "4,000", "0.0015"),
        (JOINED, "1", "25.0%", "200.0", "200.0", "4,000", "0.0015"),
        (HIT, "2", "50.0%", "2.0", "4.0", "8,000", "0.0030"),
        ("all", "4", "100.0%", "4.0", "400.0", "16,000", "0.0060"),
    ]
    assert {len(row) for row in rows(CALLS)} == {len(COLUMNS)}


def test_a_way_that_no_call_took_has_no_latency() -> None:
    assert rows(CALLS[:1])[2] == (HIT, "0", "0.0%", "-", "-", "0", "0.0000")
    assert rows([])[3] == ("all", "0", "-", "-", "-", "0", "0.0000")
    assert conclusion(CALLS[:1])[1] == "medians    400.0 ms from the provider"
    assert conclusion(CALLS[2:])[1] == "medians    2.0 ms for a hit"


def test_in_words_it_is_the_hit_rate_the_waiting_the_tokens_and_the_money() -> None:
    assert conclusion(CALLS) == [
        "hit rate   50.0%",
        "medians    2.0 ms for a hit, 400.0 ms from the provider",
        "tokens     4,000 billed, 12,000 avoided",
        "dollars    0.0015 billed, 0.0045 saved (75%),",
        "           priced as gpt-4o-mini ($0.15 per million tokens in, $0.60 out)",
    ]


def test_no_line_is_longer_than_a_terminal_is_wide() -> None:
    # As many calls as `headgate demo` takes, of the length that its questions have.
    many = [Asked(call.cache_status, 1_234.5, 60, 30) for call in CALLS] * 25_000
    assert max(map(len, conclusion(many))) <= 80
    assert max(map(len, conclusion([]))) <= 80
    cells = zip(COLUMNS, *rows(many), strict=True)
    borders = 3 * len(COLUMNS) + 1
    assert sum(max(map(len, column)) for column in cells) + borders <= 80


def test_books_that_agree_leave_nothing_to_say() -> None:
    assert disagreements(CALLS, books()) == []


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"total_calls": 5}, "calls: clients 4, gateway 5"),
        ({"cache_hits": 1}, "hits: clients 2, gateway 1"),
        ({"total_errors": 1}, "errors: clients 0, gateway 1"),
        (
            {"by_model": {"a": {"tokens": 4_000}, "b": {"tokens": 1}}},
            "billed tokens: clients 4000, gateway 4001",
        ),
    ],
)
def test_books_that_disagree_are_named_with_both_numbers(
    changed: dict[str, Any], line: str
) -> None:
    assert disagreements(CALLS, books(**changed)) == [line]
