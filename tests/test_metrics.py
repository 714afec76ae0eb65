"""The numbers: exact sums, bounded memory, and the snapshot in the seed's schema."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from typing import Any

import pytest

from headgate.core.histogram import ERROR
from headgate.metrics import ERRORS_MAX, FOLD, MODELS_MAX, OTHER, Metrics
from headgate.types import Usage


def run_in_threads(count: int, work: Any) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_call_is_counted_with_its_tokens_and_latency() -> None:
    metrics = Metrics()
    metrics.record_call("m", 100.0, Usage(10, 5, 4))
    metrics.record_call("m", 300.0, Usage(1, 2))
    row = metrics.snapshot()["by_model"]["m"]
    assert (row["calls"], row["cache_misses"], row["cache_hits"]) == (2, 2, 0)
    assert (row["tokens"], row["tokens_in"], row["tokens_out"]) == (18, 11, 7)
    assert row["tokens_cached"] == 4
    assert row["latency_avg"] == 200.0
    assert row["latency_p50"] == pytest.approx(100, rel=ERROR)
    assert row["latency_p99"] == pytest.approx(300, rel=ERROR)


def test_tokens_may_be_booked_apart_from_their_call() -> None:
    metrics = Metrics()
    metrics.record_usage("m", Usage(9, 1, 4))
    metrics.record_call("m", 1.0)
    row = metrics.snapshot()["by_model"]["m"]
    assert (row["calls"], row["tokens_in"], row["tokens_out"], row["tokens_cached"]) == (1, 9, 1, 4)


def test_a_hit_is_counted_before_a_snapshot_shows_anything() -> None:
    metrics = Metrics()
    for _ in range(FOLD - 1):
        metrics.record_hit("m", 0.5)
    row = metrics.snapshot()["by_model"]["m"]
    assert (row["calls"], row["cache_hits"], row["tokens"]) == (FOLD - 1, FOLD - 1, 0)
    assert row["latency_avg"] == pytest.approx(0.5)
    (series,) = metrics.series()
    assert (series.calls, series.hits, series.misses) == (FOLD - 1, FOLD - 1, 0)


def test_the_hit_rate_leaves_out_calls_that_did_not_consult_the_cache() -> None:
    metrics = Metrics()
    metrics.record_hit("m", 1.0)
    metrics.record_call("m", 1.0)
    metrics.record_call("m", 1.0, miss=False)
    numbers = metrics.snapshot()
    assert (numbers["total_calls"], numbers["cache_hits"], numbers["cache_misses"]) == (3, 1, 1)
    assert numbers["cache_hit_rate"] == numbers["by_model"]["m"]["cache_hit_rate"] == 0.5


def test_a_listed_model_has_its_row_whatever_else_is_asked_for() -> None:
    metrics = Metrics(models_max=3, listed=["late", "never"])
    for number in range(50):
        metrics.record_call(f"invented-{number}", 1.0)
        metrics.record_hit(f"invented-{number}", 1.0)
    metrics.record_call("late", 1.0)
    rows = metrics.snapshot()["by_model"]
    assert list(rows) == ["invented-0", "invented-1", "invented-2", OTHER, "late"]
    assert (rows["late"]["calls"], rows[OTHER]["calls"]) == (1, 2 * 47)
    metrics.reset()
    metrics.record_call("new", 1.0)
    assert list(metrics.snapshot()["by_model"]) == ["new"]


def test_an_empty_snapshot_holds_zeros() -> None:
    assert Metrics().snapshot() == {
        "total_calls": 0, "total_errors": 0, "cache_hits": 0, "cache_misses": 0,
        "cache_hit_rate": 0.0, "by_model": {}, "errors": {},
    }  # fmt: skip


def test_the_snapshot_has_the_keys_of_the_seed_document() -> None:
    metrics = Metrics()
    metrics.record_call("m", 1.0)
    metrics.record_error("m", "timeout")
    numbers = metrics.snapshot()
    assert set(numbers) >= {"total_calls", "total_errors", "cache_hits", "cache_misses",
                            "cache_hit_rate", "by_model", "errors"}  # fmt: skip
    assert set(numbers["by_model"]["m"]) >= {
        "calls", "tokens", "errors", "latency_p50", "latency_p95", "latency_p99", "latency_avg",
    }  # fmt: skip
    assert numbers["errors"] == {"m:timeout": 1}


def test_an_error_is_no_call() -> None:
    metrics = Metrics()
    metrics.record_error("m", "timeout")
    numbers = metrics.snapshot()
    assert (numbers["total_errors"], numbers["total_calls"]) == (1, 0)


def held_bytes() -> int:
    """What the lines of headgate hold; other threads of this process have their own."""
    ours = tracemalloc.Filter(True, "*/headgate/*")
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([ours]).traces)


def test_hundreds_of_thousands_of_calls_take_no_more_memory_than_the_first_thousand() -> None:
    metrics = Metrics()
    usage = Usage(10, 5, 1)

    def record(count: int) -> None:
        for number in range(count):
            metrics.record_hit("m", 0.001 * (number % 5000))
            metrics.record_call("m", 1.0 + number % 5000, usage)
            if number % 10 == 0:
                metrics.record_error("m", f"error_{number % 50}")
        metrics.snapshot()

    tracemalloc.start()
    try:
        record(5_000)
        before = held_bytes()
        record(100_000)
        grown = held_bytes() - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000, f"{grown} bytes more after 200 000 calls"
    assert metrics.snapshot()["total_calls"] == 210_000


def test_waiting_hits_never_exceed_their_bound() -> None:
    metrics = Metrics()
    longest = 0
    for _ in range(10 * FOLD):
        metrics.record_hit("m", 1.0)
        longest = max(longest, len(metrics._rows["m"].waiting))
    assert longest <= FOLD


def test_models_beyond_the_limit_are_counted_under_other() -> None:
    metrics = Metrics()
    for number in range(3 * MODELS_MAX):
        metrics.record_call(f"model-{number}", 1.0)
        metrics.record_hit(f"model-{number}", 1.0)
    rows = metrics.snapshot()["by_model"]
    assert len(rows) == MODELS_MAX + 1
    assert rows["model-0"]["calls"] == 2
    assert rows[OTHER]["calls"] == 2 * 2 * MODELS_MAX
    assert metrics.snapshot()["total_calls"] == 6 * MODELS_MAX


def test_names_of_errors_are_bounded_too() -> None:
    metrics = Metrics(models_max=3)
    for number in range(500):
        metrics.record_error(f"model-{number % 7}", f"error_{number}")
    numbers = metrics.snapshot()
    assert len(numbers["errors"]) <= (3 + 1) * (ERRORS_MAX + 1)
    assert sum(numbers["errors"].values()) == numbers["total_errors"] == 500
    assert f"{OTHER}:{OTHER}" in numbers["errors"]


def test_errors_whose_names_are_spelled_alike_are_added_up() -> None:
    metrics = Metrics()
    metrics.record_error("a", "b:c")
    metrics.record_error("a:b", "c")
    numbers = metrics.snapshot()
    assert (numbers["errors"], numbers["total_errors"]) == ({"a:b:c": 2}, 2)


def test_sums_are_exact_under_eight_threads() -> None:
    metrics = Metrics()
    each = 4_000

    def work(number: int) -> None:
        for step in range(each):
            metrics.record_hit(f"m{step % 3}", 1.0)
            metrics.record_call(f"m{step % 3}", 2.0, Usage(3, 2, 1))
            if step % 4 == 0:
                metrics.record_error(f"m{step % 3}", f"error_{number}")
            if step % 500 == 0:
                metrics.snapshot()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        run_in_threads(8, work)
    finally:
        sys.setswitchinterval(before)
    numbers = metrics.snapshot()
    rows = numbers["by_model"].values()
    assert numbers["total_calls"] == 16 * each
    assert (numbers["cache_hits"], numbers["cache_misses"]) == (8 * each, 8 * each)
    assert numbers["total_errors"] == sum(numbers["errors"].values()) == 2 * each
    assert sum(row["tokens"] for row in rows) == 5 * 8 * each
    assert sum(row["latency_avg"] * row["calls"] for row in rows) == pytest.approx(24.0 * each)


def test_a_snapshot_does_not_change_afterwards() -> None:
    metrics = Metrics()
    metrics.record_call("m", 1.0)
    metrics.record_error("m", "timeout")
    numbers = metrics.snapshot()
    metrics.record_call("m", 1.0)
    metrics.record_error("m", "timeout")
    assert (numbers["total_calls"], numbers["errors"]) == (1, {"m:timeout": 1})


def test_reset_forgets_everything() -> None:
    metrics = Metrics()
    metrics.record_hit("m", 1.0)
    metrics.record_error("m", "timeout")
    metrics.reset()
    assert metrics.snapshot() == Metrics().snapshot()
    assert metrics.series() == []


def test_series_come_in_the_order_of_first_events_with_cumulative_buckets() -> None:
    metrics = Metrics()
    metrics.record_call("b", 6.0, Usage(3, 2))
    metrics.record_hit("a", 0.01)
    metrics.record_error("b", "timeout")
    first, second = metrics.series()
    assert (first.model, second.model) == ("b", "a")
    assert (first.tokens_in, first.tokens_out, first.failures) == (3, 2, 1)
    assert first.sum_ms == 6.0
    assert first.latency_buckets[0] == (5.0, 0)
    assert first.latency_buckets[1][1] == 1
    assert {count for _, count in second.latency_buckets} == {1}


def test_a_latency_beyond_the_last_counter_is_still_a_call() -> None:
    metrics = Metrics()
    metrics.record_call("m", 1e12)
    metrics.record_call("m", 0.0)
    row = metrics.snapshot()["by_model"]["m"]
    assert row["calls"] == 2
    assert row["latency_p99"] > 3_000_000
