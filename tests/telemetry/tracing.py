"""Gateways and runtimes that report to memory, through OpenTelemetry's own SDK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gates import Gate, providers_at
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from oracle import until

from headgate.clock import Clock
from headgate.config import Config
from headgate.layers.settings import RetryConfig
from headgate.telemetry import Telemetry
from headgate.testing import FaultServer

CHAT = "/v1/chat/completions"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


class Trace:
    """What one telemetry has reported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = Telemetry(self.tracers, self.meters)

    def spans(self, kind: SpanKind, count: int) -> list[ReadableSpan]:
        """The spans of one kind, by their beginning; waits until there are `count`."""

        def ended() -> list[ReadableSpan]:
            return [span for span in self.exporter.get_finished_spans() if span.kind is kind]

        until(lambda: len(ended()) >= count, f"{count} spans of kind {kind}")
        found = sorted(ended(), key=lambda span: span.start_time or 0)
        assert len(found) == count, [span.name for span in found]
        return found

    def calls(self, count: int = 1) -> list[ReadableSpan]:
        return self.spans(SpanKind.INTERNAL, count)

    def attempts(self, count: int = 1) -> list[ReadableSpan]:
        return self.spans(SpanKind.CLIENT, count)

    def points(self, metric: str) -> list[Any]:
        """The data points of one metric, as they are collected now."""
        found = self.reader.get_metrics_data()
        assert found is not None
        every = [m for r in found.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return [point for one in every if one.name == metric for point in one.data.data_points]


def said(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes."""
    return dict(span.attributes or {})


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    """Trace, span and parent ("" where it has none), in hexadecimal."""
    context, parent = span.get_span_context(), span.parent
    above = "" if parent is None else f"{parent.span_id:016x}"
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", above


@contextmanager
def traced_gate(
    server: FaultServer, trace: Trace, clock: Clock | None = None, **blocks: Any
) -> Iterator[Gate]:
    """A gateway before `server` that reports to `trace`."""
    usual = {"retry": RetryConfig(backoff=0.01)}
    config = Config(providers=providers_at(server), **{**usual, **blocks})
    gate = Gate(config, clock, telemetry=trace.telemetry)
    try:
        until(lambda: gate.get("/readyz").status == 200, "the gateway starts")
        yield gate
    finally:
        gate.close()
