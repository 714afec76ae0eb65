"""/metrics with 200 models, all of whose series are in use: at most 50 ms of CPU time, in each
naming, alone and over the file that workers share; and what a miss costs that is counted for it.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from measure import cpu_us, report, rounds

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.core.booking import ANSWER, AVOIDED_EXACT, Row
from headgate.core.money import Tokens
from headgate.core.outcome import OUTCOMES
from headgate.core.series import FAILED
from headgate.guards import Guards
from headgate.metrics import Metrics
from headgate.runtime import Runtime
from headgate.surfaces.exposition import Exposition
from headgate.surfaces.numbers import Numbers
from headgate.types import Call, Target, Usage, WireRequest

ROUNDS = 15
MODELS = 200
MISSES = 20_000
LATENCIES_MS = (1.0, 5.0, 20.0, 100.0, 700.0, 3000.0)
TARGET_US = 50_000.0


def names() -> list[str]:
    return [f"model-{number:03}" for number in range(MODELS)]


def busy_runtime() -> Runtime:
    """Every model has had hits, misses, streams, failures and a breaker, and has cost something."""
    models = {name: ModelConfig(targets=(f"p/{name}",)) for name in names()}
    runtime = Runtime(Config(providers={"p": ProviderConfig(kind="fake")}, models=models))
    for name in names():
        for latency_ms in LATENCIES_MS:
            runtime.metrics.record_call(name, latency_ms, Usage(10, 5))
            runtime.metrics.record_hit(name, 0.1)
            runtime.metrics.record_first_chunk(name, latency_ms)
        runtime.metrics.record_call(name, 9.0, result=FAILED)
        runtime.metrics.record_error(name, "timeout")
        for kind in (ANSWER, AVOIDED_EXACT):
            call = Call("chat", name, WireRequest("/", b"", ()), b"", b"s" * 32, Target("p", name))
            runtime.ledger.book("", call, [Row(kind, f"p/{name}", Tokens(10, output=5), 100)])
        runtime.guards.tally(("p", name), OUTCOMES["ok"], 0.3)
        runtime.guards.deployments.get(("p", name), 0.0)
    return runtime


def count_misses(metrics: Metrics, guards: Guards) -> None:
    """What is counted of a miss, its money apart: tokens, the call, the attempt."""
    usage, ok = Usage(100, 50), OUTCOMES["ok"]
    for _ in range(MISSES):
        metrics.record_usage("model-000", usage)
        metrics.record_call("model-000", 300.0)
        guards.tally(("p", "model-000"), ok, 0.3)


def main() -> None:
    runtime = busy_runtime()
    with tempfile.TemporaryDirectory() as folder:
        shown = {"alone": Numbers(), "shared": Numbers(Path(folder, "numbers.db"))}
        pages = {}
        for place, numbers in shown.items():
            numbers.follow(runtime)
            for naming in ("compat", "standard", "both"):
                pages[f"{naming}, {place}"] = Exposition(numbers, naming)
        figures = rounds(
            {
                **{name: lambda page=page: cpu_us(lambda: page.render(""), 1)
                   for name, page in pages.items()},
                "counting a miss": lambda: cpu_us(
                    lambda: count_misses(runtime.metrics, runtime.guards), MISSES
                ),
            },
            ROUNDS,
        )  # fmt: skip
        sizes = {name: len(page.render("")[0]) for name, page in pages.items()}
    report(
        "metrics page",
        {
            "unit": "CPU us",
            "models": MODELS,
            "target": TARGET_US,
            **{name: round(statistics.median(row), 2) for name, row in figures.items()},
            "bytes": sizes,
        },
    )
    runtime.close()


if __name__ == "__main__":
    main()
