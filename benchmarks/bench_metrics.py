"""Recording and reading the numbers, whatever came before: at most 1 us and 1 ms of CPU time.

A second snapshot is of the worst case: every model row in use, and every counter of each.
"""

from __future__ import annotations

import itertools
import statistics
import tracemalloc

from measure import cpu_us, report, rounds

from headgate.core.histogram import BOUNDS_MS
from headgate.metrics import Metrics
from headgate.types import Usage

ROUNDS = 21
CALLS = 10_000_000
MODELS = 100


def used(models: int) -> Metrics:
    """Numbers of `models` models with something in every counter."""
    metrics = Metrics(models_max=MODELS)
    for number in range(models):
        for bound in BOUNDS_MS:
            metrics.record_call(f"model-{number}", bound, Usage(10, 5))
    return metrics


def record_many(metrics: Metrics, count: int) -> None:
    for latency_ms in itertools.islice(itertools.cycle((0.02, 0.03, 0.05, 0.3)), count):
        metrics.record_hit("model-0", latency_ms)


def call_many(metrics: Metrics, count: int) -> None:
    usage = Usage(100, 50)
    for latency_ms in itertools.islice(itertools.cycle((300.0, 700.0, 1500.0)), count):
        metrics.record_call("model-0", latency_ms, usage)


def main() -> None:
    typical, worst = used(5), used(MODELS)
    figures = rounds(
        {
            "record_hit": lambda: cpu_us(lambda: record_many(typical, 50_000), 50_000),
            "record_call": lambda: cpu_us(lambda: call_many(typical, 50_000), 50_000),
            "snapshot, 5 models": lambda: cpu_us(typical.snapshot, 1),
            f"snapshot, {MODELS} models": lambda: cpu_us(worst.snapshot, 1),
        },
        ROUNDS,
    )
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    record_many(typical, CALLS)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    results = {name: round(statistics.median(row), 3) for name, row in figures.items()}
    targets = {
        "record_hit": 1.0,
        "record_call": 1.0,
        "snapshot, 5 models": 1000.0,
        "snapshot, 100 models": 1000.0,
    }
    report(
        "metrics",
        {
            "unit": "CPU us",
            "targets": targets,
            **results,
            f"bytes grown by {CALLS} calls": grown,
            "snapshot after them": round(statistics.median(
                cpu_us(typical.snapshot, 1) for _ in range(ROUNDS)
            ), 1),
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
