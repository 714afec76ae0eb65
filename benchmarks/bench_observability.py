"""What counting, booking and logging cost a call: all of it on against all of it off, in turns.

On: numbers per model, ledger, log of calls with its prints. Off: the same stack without the layer
that does so, and a memory hit that nobody writes down. JSON lines are measured besides: they are
written by another thread of the same process, so the figure is CPU time of the process. Spans and
metrics of OpenTelemetry, too: its real SDK, which hands what is sampled to a thread that drops it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from measure import cpu_us, report, rounds
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from headgate import pipeline
from headgate.config import CallsConfig, Config, ProviderConfig, ServerConfig
from headgate.core.difference import print_of
from headgate.runtime import Runtime
from headgate.stream import Whole
from headgate.surfaces.logs import LogLines
from headgate.telemetry import Telemetry
from headgate.types import Call, Reply

ROUNDS = 41
HITS = 4_000
MISSES = 400
ANSWER = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"' + b"Paris. " * 20 + b'"},"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":40,"completion_tokens":30,"total_tokens":70}}'
)
JSON = ((b"content-type", b"application/json"),)
BODY = (
    b'{"model":"gpt-4o","messages":[{"role":"system","content":"%s"},{"role":"user","content":'
    b'"Question %d?"}],"temperature":0.2,"max_tokens":300}'
)
SYSTEM = b"You answer questions of customers of a shop, briefly and politely. " * 4


async def provider(call: Call) -> Reply:
    """Answers at once, always the same."""
    return Reply(200, JSON, Whole(ANSWER))


class Dropping(SpanExporter):
    """Costs nothing but what leads here."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def telemetry(sampler: Sampler) -> Telemetry:
    """The SDK as it is usually set up."""
    tracers = TracerProvider(sampler, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(Dropping()))
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return Telemetry(tracers, meters)


class Side:
    """One runtime, asked about one question again, and about new ones."""

    def __init__(self, is_on: bool, keep: int = 1000, told: Telemetry | None = None) -> None:
        config = Config(
            providers={"openai": ProviderConfig(kind="openai")}, calls=CallsConfig(keep)
        )
        self.runtime = runtime = Runtime(config, telemetry=told)
        self.loop = asyncio.new_event_loop()
        self.head = runtime.admission.head([(b"authorization", b"Bearer sk-benchmark")])
        self.asked = 0
        limits = pipeline.limits(runtime._parts.limiting, runtime.clock)
        observed = pipeline.observed(runtime.metrics, runtime.ledger, runtime.clock, runtime.calls)
        front = pipeline.front(
            config.cache, runtime.tiers, runtime.fill, runtime.clock, observed, limits.throttle
        )
        guarded = pipeline.per_target(
            config, runtime._parts.resilience, runtime.clock, limits.limit
        )
        layers = pipeline.traced(front + guarded, runtime._spans)
        layers = layers if is_on else layers[1:]
        self.stack: Callable[[Call], Awaitable[Reply]] = pipeline.stack(layers, provider)
        if not is_on:
            runtime._record_hit = runtime._book_hit = runtime._log_hit = _nothing
        self.misses(1)
        self.known = BODY % (SYSTEM, 0)

    def hits(self, count: int = HITS) -> None:
        find, head, body = self.runtime.find, self.head, self.known
        for _ in range(count):
            find("chat", head, body, b"")

    def library_hits(self, count: int = HITS) -> None:
        ask = self.runtime.cached_llm_call
        for _ in range(count):
            ask("Capital of France?", "gpt-4o", None, _nothing)

    def miss_us(self) -> float:
        calls = [self._call() for _ in range(MISSES)]
        return cpu_us(functools.partial(self._ask_all, calls), MISSES)

    def misses(self, count: int) -> None:
        self._ask_all([self._call() for _ in range(count)])

    def _call(self) -> Call:
        body = BODY % (SYSTEM, self.asked)
        self.asked += 1
        plan, _ = self.runtime.find("chat", self.head, body, b"")
        return self.runtime.admission.call("/chat/completions", self.head, body, plan)

    def _ask_all(self, calls: list[Call]) -> None:
        async def ask() -> None:
            for call in calls:
                await self.stack(call)

        self.loop.run_until_complete(ask())


def _nothing(*_: Any) -> None:
    return None


def with_lines_us(side: Side) -> float:
    """CPU microseconds of the process for a hit whose line is written, too."""
    started_ns = time.process_time_ns()
    side.hits(2_000)
    while side.lines._waiting:  # type: ignore[attr-defined]
        time.sleep(0.001)
    return (time.process_time_ns() - started_ns) / 1000 / 2_000


def main() -> None:
    on, off, unlogged, lined = Side(True), Side(False), Side(True, keep=0), Side(True)
    spans, unsampled = (Side(True, told=telemetry(one)) for one in (ALWAYS_ON, ALWAYS_OFF))
    config = Config(server=ServerConfig(log_format="json"))
    lined.lines = LogLines(config, os.open(os.devnull, os.O_WRONLY))  # type: ignore[attr-defined]
    lined.lines.follow(lined.runtime.calls)  # type: ignore[attr-defined]
    fields = {"model": "gpt-4o", "messages": [{"role": "system", "content": SYSTEM.decode()},
              {"role": "user", "content": "Question?"}], "temperature": 0.2}  # fmt: skip
    figures = rounds(
        {
            "hit, on": lambda: cpu_us(on.hits, HITS),
            "hit, off": lambda: cpu_us(off.hits, HITS),
            "hit, without the log": lambda: cpu_us(unlogged.hits, HITS),
            "hit, JSON lines": lambda: with_lines_us(lined),
            "hit, spans": lambda: cpu_us(spans.hits, HITS),
            "hit, unsampled": lambda: cpu_us(unsampled.hits, HITS),
            "miss, spans": spans.miss_us,
            "miss, unsampled": unsampled.miss_us,
            "library hit, spans": lambda: cpu_us(spans.library_hits, HITS),
            "miss, on": on.miss_us,
            "miss, off": off.miss_us,
            "miss, without the log": unlogged.miss_us,
            "library hit, on": lambda: cpu_us(on.library_hits, HITS),
            "library hit, off": lambda: cpu_us(off.library_hits, HITS),
            "print": lambda: cpu_us(lambda: [print_of(fields) for _ in range(1000)] and None, 1000),
        },
        ROUNDS,
    )
    medians = {name: round(statistics.median(row), 2) for name, row in figures.items()}
    pairs = (("hit", "hit, on", "hit, off"), ("miss", "miss, on", "miss, off"),
             ("log of calls, hit", "hit, on", "hit, without the log"),
             ("log of calls, miss", "miss, on", "miss, without the log"),
             ("library hit", "library hit, on", "library hit, off"),
             ("spans, hit", "hit, spans", "hit, on"), ("spans, miss", "miss, spans", "miss, on"),
             ("spans, library hit", "library hit, spans", "library hit, on"),
             ("unsampled, hit", "hit, unsampled", "hit, on"),
             ("unsampled, miss", "miss, unsampled", "miss, on"))  # fmt: skip
    added = {
        name: round(
            statistics.median(
                a - b for a, b in zip(figures[with_it], figures[without], strict=True)
            ),
            2,
        )
        for name, with_it, without in pairs
    }
    report("observability", {"unit": "CPU us", "added": added, "target": 15, "medians": medians})


if __name__ == "__main__":
    main()
