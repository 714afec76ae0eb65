"""W3C trace context, in and out."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import INVALID_SPAN, get_current_span
from telemetry.tracing import PARENT, TRACE

from headgate.telemetry.context import context_of, has_parent, sent_on
from headgate.types import Call, Headers, Target, WireRequest

GIVEN = f"00-{TRACE}-{PARENT}-01".encode()


def parent_in(headers: Headers) -> Any:
    return get_current_span(context_of(headers)).get_span_context()


@pytest.mark.parametrize("name", [b"traceparent", b"Traceparent", b"TRACEPARENT"])
def test_the_parent_is_the_one_in_the_headers(name: bytes) -> None:
    found = parent_in(((b"accept", b"*/*"), (name, GIVEN), (b"tracestate", b"a=1,b=2")))
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == (TRACE, PARENT)
    assert dict(found.trace_state) == {"a": "1", "b": "2"}
    assert has_parent(((name, GIVEN),))


@pytest.mark.parametrize("value", [b"", b"00", GIVEN + b"0" * 200, b"\xff\xfe"])
def test_a_header_that_is_none_is_no_parent(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert not parent_in(((b"traceparent", value),)).is_valid
    assert not caplog.records


def test_a_state_that_is_too_long_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    found = parent_in(((b"traceparent", GIVEN), (b"tracestate", b"a=" + b"1" * 600)))
    assert found.is_valid
    assert dict(found.trace_state) == {}
    assert not caplog.records


def test_what_goes_out_names_the_span_and_nothing_else() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    headers = ((b"Traceparent", GIVEN), (b"tracestate", b"a=1"), (b"accept", b"*/*"))
    call = Call("chat", "m", WireRequest("/", b"", headers), b"", b"", Target("p", "m"))
    span = tracer.start_span("s", context_of(headers))
    sent = sent_on(call, span).request
    assert isinstance(sent, WireRequest)
    span_id = f"{span.get_span_context().span_id:016x}"
    named = f"00-{TRACE}-{span_id}-01".encode()
    assert sent.headers == ((b"accept", b"*/*"), (b"traceparent", named), (b"tracestate", b"a=1"))


def test_where_nothing_is_traced_the_clients_context_goes_on() -> None:
    request = WireRequest("/", b"", ((b"traceparent", GIVEN),))
    call = Call("chat", "m", request, b"", b"", Target("p", "m"))
    assert sent_on(call, INVALID_SPAN) is call
