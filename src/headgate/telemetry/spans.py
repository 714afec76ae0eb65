"""Spans: INTERNAL for each call, CLIENT for each attempt at a provider, both as layers of the
stack, and one for a hit of memory, which enters no stack. No text of prompts or answers is in any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from headgate.clock import Clock
from headgate.core.outcome import OK, Outcome
from headgate.core.verdict import exception_error, status_error
from headgate.events import Events
from headgate.spending import followed, reported_usage
from headgate.stream import Tap, Value, Whole
from headgate.telemetry import answers, names
from headgate.telemetry.context import context_of, has_parent, sent_on
from headgate.telemetry.instruments import Instruments
from headgate.telemetry.places import Places
from headgate.types import (
    NO_USAGE,
    ORIGINATED,
    Call,
    Headers,
    Invocation,
    Provenance,
    Reply,
    Service,
    WireRequest,
)

_FAILS = 400
_NANOS = 1_000_000_000
_LEFT = (asyncio.CancelledError, GeneratorExit)
_CANCELLED = "cancelled"


class Spans:
    """The layers of one runtime, and what it tells of the hits of memory."""

    def __init__(
        self, tracer: Tracer, instruments: Instruments, clock: Clock, places: Places
    ) -> None:
        self._tracer = tracer
        self._instruments = instruments
        self._monotonic = clock.monotonic
        self._places = places
        self._epoch_offset_s = clock.epoch() - clock.monotonic()

    # Hits of memory.

    def hit(self, plan: Any, forwarded: Headers, started_s: float, ended_s: float) -> None:
        """Memory answered a call; `plan` is that of its admission, times are monotonic."""
        asked = _asked(plan.operation, plan.model) | {names.STREAM: plan.streamed}
        self._add_hit(asked, context_of(forwarded), (started_s, ended_s))

    def counted(self, record: Callable[[str, float], None]) -> Callable[[str, float], None]:
        """`record`, which hears of each hit of the library, and a span beside."""

        def record_hit(model: str, latency_ms: float) -> None:
            record(model, latency_ms)
            now_s = self._monotonic()
            asked = _asked("function", model)
            self._add_hit(asked, get_current(), (now_s - latency_ms / 1000, now_s))

        return record_hit

    def _add_hit(
        self, asked: dict[str, Any], context: Context, times_s: tuple[float, float]
    ) -> None:
        asked[names.CACHE_RESULT] = names.HIT
        began_ns, ended_ns = map(self._ns, times_s)
        name = f"call {asked[names.REQUEST_MODEL]}"
        span = self._tracer.start_span(name, context, SpanKind.INTERNAL, asked, start_time=began_ns)
        span.end(ended_ns)

    # Calls that enter the stack.

    def calls(self, below: Service) -> Service:
        """The layer for calls: its span ends with the reply, a streamed one at its last chunk."""

        async def service(call: Call) -> Reply:
            request = call.request
            headers = request.headers if isinstance(request, WireRequest) else ()
            context = context_of(headers)
            asked = _asked(call.operation, call.model) | {names.STREAM: call.streamed}
            if call.account is not None:
                asked[names.CALL_ID] = call.account.name
            span = self._begin(f"call {call.model}", context, SpanKind.INTERNAL, asked)

            def failed(error: BaseException) -> None:
                span.set_attribute(names.CACHE_RESULT, _result(call, ORIGINATED))
                self._end(span, _error(error))

            with _Within(set_span_in_context(span, context), failed):
                reply = await below(call)
            span.set_attribute(names.CACHE_RESULT, _result(call, reply.provenance))
            return self._until_its_end(span, reply)

        return service

    def _until_its_end(self, span: Span, reply: Reply) -> Reply:
        failed = status_error(reply.status) if reply.status >= _FAILS else ""
        body = reply.body
        if isinstance(body, Whole | Value):
            self._end(span, failed)
            return reply

        def on_end(error: BaseException | None) -> None:
            inspection = getattr(body, "inspection", None)
            if isinstance(error, GeneratorExit) and getattr(body, "is_delivered", False):
                error = None
            if error is not None:
                self._end(span, _error(error))
            elif inspection is not None and inspection.has_failed:
                self._end(span, "error_in_stream")
            else:
                self._end(span, failed)

        return replace(reply, body=_Watched(body, on_end))

    # Attempts.

    def attempts(self, below: Service) -> Service:
        """The layer for attempts, which tells the provider whose call it is. A callable's are its
        own affair, and so are those of an SDK that makes a span itself."""

        async def service(call: Call) -> Reply:
            request = call.request
            if isinstance(request, Invocation) or (request.send and has_parent(request.headers)):
                return await below(call)
            asked, began_s = self._places.asked(call), self._monotonic()
            name = f"{asked[names.OPERATION]} {call.target.model}"
            span = self._begin(name, get_current(), SpanKind.CLIENT, asked)

            def over(outcome: Outcome, reply: Reply | None) -> None:
                labels = self._places.labels(call, asked)
                error = "" if outcome.kind == OK else outcome.reason
                if error:
                    labels[names.ERROR] = error = _CANCELLED if error == "left" else error
                usage = NO_USAGE if reply is None else reported_usage(reply)
                elapsed_s = self._monotonic() - began_s
                self._instruments.ended(elapsed_s, None if usage == NO_USAGE else usage, labels)
                if reply is not None and span.is_recording():
                    span.set_attributes(answers.about(call, reply))
                self._end(span, error)

            async def to_first_content(sent: Call) -> Reply:
                reply = await below(sent)
                if isinstance(reply.body, Events):
                    first_s = self._monotonic() - began_s
                    span.set_attribute(names.FIRST_CHUNK, first_s)
                    self._instruments.began(first_s, self._places.labels(call, asked))
                return reply

            return await followed(to_first_content, sent_on(call, span), over)

        return service

    def _begin(self, name: str, context: Context, kind: SpanKind, asked: dict[str, Any]) -> Span:
        began_ns = self._ns(self._monotonic())
        return self._tracer.start_span(name, context, kind, asked, start_time=began_ns)

    def _end(self, span: Span, error: str) -> None:
        """`error` is the short name of what went wrong, "" if nothing did."""
        if error:
            span.set_attribute(names.ERROR, error)
            if error != _CANCELLED:
                span.set_status(Status(StatusCode.ERROR))
        span.end(self._ns(self._monotonic()))

    def _ns(self, moment_s: float) -> int:
        """Since 1970, of a moment of the monotonic clock."""
        return int((moment_s + self._epoch_offset_s) * _NANOS)


class _Within:
    """What is done in it, in tasks of its own too, has `context`; `failed` hears how it raised."""

    __slots__ = ("_context", "_failed", "_token")

    def __init__(self, context: Context, failed: Callable[[BaseException], None]) -> None:
        self._context = context
        self._failed = failed

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        detach(self._token)
        if error is not None:
            self._failed(error)


class _Watched(Tap):
    """A tap that lets see what is known of the stream below it."""

    __slots__ = ()

    @property
    def inspection(self) -> Any:
        return getattr(self._body, "inspection", None)

    @property
    def is_delivered(self) -> bool:
        return bool(getattr(self._body, "is_delivered", False))


def _asked(operation: str, model: str) -> dict[str, Any]:
    named = names.OPERATIONS.get(operation, operation)
    return {names.OPERATION: named, names.REQUEST_MODEL: model}


def _result(call: Call, origin: Provenance) -> str:
    """What the cache did for a call."""
    if origin.detail == "stale-if-error":
        return names.STALE
    if origin.hit:
        return names.HIT
    if origin.collapsed:
        return names.COLLAPSED
    return names.BYPASS if call.bypass or not call.controls.may_read else names.MISS


def _error(error: BaseException) -> str:
    return _CANCELLED if isinstance(error, _LEFT) else exception_error(error)
