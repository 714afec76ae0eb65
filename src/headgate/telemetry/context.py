"""W3C trace context in the headers of requests: whose call it is, and what its provider is told."""

from __future__ import annotations

from msgspec.structs import replace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headgate.types import Call, Headers, Invocation

_NAMES = {b"traceparent": 128, b"tracestate": 512}
"""What a longer one may be for nobody is asked: the SDK would write a line about each of them."""
_PROPAGATOR = TraceContextTextMapPropagator()


def context_of(headers: Headers) -> Context:
    """That which the headers name, else the one that the caller runs in."""
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        low = name.lower()
        if low in _NAMES and len(value) <= _NAMES[low]:
            carrier.setdefault(low.decode(), []).append(value.decode("latin-1"))
    return _PROPAGATOR.extract(carrier, get_current()) if carrier else get_current()


def has_parent(headers: Headers) -> bool:
    """Whether somebody says whose call it is."""
    return any(name.lower() == b"traceparent" for name, _ in headers)


def sent_on(call: Call, span: Span) -> Call:
    """The call with `span` in its headers in place of its client's; as it is where nothing is
    traced."""
    request = call.request
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(span))
    if isinstance(request, Invocation) or not carrier:
        return call
    kept = tuple(header for header in request.headers if header[0].lower() not in _NAMES)
    ours = tuple((name.encode(), value.encode("latin-1")) for name, value in carrier.items())
    return replace(call, request=replace(request, headers=kept + ours))
