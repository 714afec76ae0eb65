"""What a window says of its calls: rates of the window, alerts, and when there are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.watch import (
    ERROR_RATE,
    HIT_RATE,
    Thresholds,
    Totals,
    as_json,
    report_of,
    still_raised,
    summary,
    totals_of,
)
from headgate.runtime import Runtime

USUAL = Thresholds()
BEFORE = Totals(calls=1_000, errors=500, hits=0, misses=500)


def after(calls: int = 0, errors: int = 0, hits: int = 0, misses: int = 0) -> Totals:
    return Totals(1_000 + calls, 500 + errors, hits, 500 + misses)


def names(**came: int) -> list[str]:
    return [alert.name for alert in report_of(BEFORE, after(**came), 300, USUAL).alerts]


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        ({"calls": 100, "errors": 6}, [ERROR_RATE]),
        ({"calls": 100, "errors": 5}, []),
        ({"calls": 100, "hits": 29, "misses": 71}, [HIT_RATE]),
        ({"calls": 100, "hits": 30, "misses": 70}, []),
        ({"calls": 100, "errors": 50, "misses": 100}, [ERROR_RATE, HIT_RATE]),
        ({"calls": 19, "errors": 19, "misses": 19}, []),
        ({"calls": 20, "errors": 20, "misses": 19}, [ERROR_RATE]),
        ({}, []),
    ],
)
def test_rates_are_those_of_the_window_and_need_traffic(
    came: dict[str, int], expected: list[str]
) -> None:
    assert names(**came) == expected


def test_a_window_without_calls_has_no_rates() -> None:
    report = report_of(BEFORE, BEFORE, 60, Thresholds(calls_min=0))
    assert (report.error_rate, report.hit_rate, report.alerts) == (None, None, ())
    assert summary(report).startswith("60 s: 0 calls, errors -, hit rate -, 0 tokens")


def test_totals_that_fell_were_counted_anew() -> None:
    report = report_of(BEFORE, Totals(calls=40, errors=4), 300, USUAL)
    assert report.is_restarted
    assert report.totals == Totals(calls=40, errors=4)
    assert [alert.name for alert in report.alerts] == [ERROR_RATE]
    assert summary(report).endswith("(restarted)")


def test_an_alert_is_resolved_by_a_good_window_not_by_a_quiet_one() -> None:
    bad = report_of(BEFORE, after(calls=100, errors=50), 300, USUAL)
    raised = still_raised(bad, frozenset())
    assert raised == {ERROR_RATE}
    quiet = report_of(BEFORE, after(calls=3), 300, USUAL, raised)
    assert (quiet.resolved, still_raised(quiet, raised)) == ((), raised)
    good = report_of(BEFORE, after(calls=100), 300, USUAL, raised)
    assert good.resolved == (ERROR_RATE,)
    assert still_raised(good, raised) == frozenset()
    assert "resolved: error rate" in as_json(good)["text"]


def test_a_report_says_everything_in_words_and_numbers() -> None:
    now = Totals(1_200, 520, 10, 690, 5_000, 0.25, 0.5)
    shown = as_json(report_of(BEFORE, now, 300, USUAL))
    assert shown["text"] == (
        "headgate: error rate 10.0% is above 5% (20 of 200 calls); hit rate 5.0% is below 30% "
        "(10 of 200 lookups); 5 min: 200 calls, errors 10.0%, hit rate 5.0%, 5,000 tokens, "
        "$0.2500 billed, $0.5000 saved"
    )
    assert (shown["calls"], shown["errors"], shown["billed_usd"]) == (200, 20, 0.25)
    assert [alert["name"] for alert in shown["alerts"]] == [ERROR_RATE, HIT_RATE]


def test_totals_are_read_from_the_numbers_of_a_runtime() -> None:
    with Runtime() as runtime:
        for prompt in ("a", "a", "b"):
            runtime.cached_llm_call(prompt, "m", None, lambda: "x")
        assert totals_of(runtime.stats()) == Totals(calls=3, hits=1, misses=2)


COUNTS = st.integers(0, 50)
TOTALS: Any = st.builds(Totals, COUNTS, COUNTS, COUNTS, COUNTS)


@given(TOTALS, TOTALS, st.frozensets(st.sampled_from((ERROR_RATE, HIT_RATE))))
def test_no_window_is_negative_and_no_alert_is_resolved_while_it_holds(
    before: Totals, now: Totals, raised: frozenset[str]
) -> None:
    report = report_of(before, now, 300, USUAL, raised)
    assert min(report.totals.calls, report.totals.errors, report.totals.hits) >= 0
    holding = {alert.name for alert in report.alerts}
    assert holding & set(report.resolved) == set()
    assert holding <= still_raised(report, raised) <= raised | holding
