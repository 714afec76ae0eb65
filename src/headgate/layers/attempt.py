"""One attempt at one target: its time to the first token, and a verdict on what came.

Closest to the provider, so that what is above sees one kind of failure, raised, before the first
content: retry and fallback may act on it, the breaker counts it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from msgspec.structs import replace

from headgate.clock import Clock
from headgate.core.attribution import status_of_event
from headgate.core.error_note import error_answer
from headgate.core.payload import is_no_answer
from headgate.core.verdict import judge
from headgate.errors import UpstreamGarbled, UpstreamTimeout
from headgate.events import looked_at
from headgate.stream import Value, Whole
from headgate.types import Call, Invocation, Layer, Reply, Service

NO_LIMIT_S = 0.0
_JSON = (b"content-type", b"application/json")


def attempt(first_token_s: Callable[[Call], float], keep_max_bytes: int, clock: Clock) -> Layer:
    """Judges whole answers, opens streams up to their first content.

    `first_token_s` is how long a streamed call may take to that, in seconds from here; `NO_LIMIT_S`
    for no limit of ours. No attempt has longer than its call has left, to its answer or its first
    content. Streams up to `keep_max_bytes` are kept while they pass. Raises UpstreamGarbled for a
    200 that is no answer, UpstreamTimeout (first_token, total, deadline), and what breaks a stream
    before it began.
    """

    def layer(below: Service) -> Service:
        async def service(call: Call) -> Reply:
            if isinstance(call.request, Invocation):
                return await below(call)
            limit_s = (first_token_s(call) if call.streamed else NO_LIMIT_S) or math.inf
            left_s = _left_s(call, clock.monotonic())
            if limit_s == left_s == math.inf:
                return await _tried(below, call, keep_max_bytes)
            try:
                async with asyncio.timeout(min(limit_s, left_s)):
                    return await _tried(below, call, keep_max_bytes)
            except TimeoutError:
                raise _too_late(call, limit_s, left_s) from None

        return service

    return layer


def _left_s(call: Call, now_s: float) -> float:
    """Until the deadline of the call; infinity where nobody has set one."""
    return math.inf if call.allowance is None else call.allowance.left_s(now_s)


def _too_late(call: Call, limit_s: float, left_s: float) -> UpstreamTimeout:
    if left_s >= limit_s:
        return UpstreamTimeout(f"no content within {limit_s:g} s", stage="first_token")
    # The target's fault if it had all the time that a call gets, nobody's if its caller gave it
    # less, or attempts before it had used it up: otherwise a caller with deadlines of a millisecond
    # opens the breaker for everyone.
    had_all = call.controls.deadline_s is None and call.allowance.attempts <= 1
    message = "no answer within the deadline of the call"
    return UpstreamTimeout(message, stage="total" if had_all else "deadline")


async def _tried(below: Service, call: Call, keep_max_bytes: int) -> Reply:
    reply = await below(call)
    body = reply.body
    if isinstance(body, Whole):
        return _judged(call, reply, body.content)
    if isinstance(body, Value):
        return reply
    events = looked_at(call.operation, reply.status, body, keep_max_bytes)
    if events is None:
        return reply
    is_open = False
    try:
        await events.open()
        is_open = events.has_content
    finally:
        if not is_open:
            await events.aclose()
    return replace(reply, body=events) if is_open else _refusing(call, reply, events.error_event)


def _refusing(call: Call, reply: Reply, event: bytes) -> Reply:
    """A stream that begins with an error is the answer that it would have been without 200."""
    headers = tuple(header for header in reply.headers if header[0] != b"content-type")
    status, body = status_of_event(event), Whole(error_answer(call.operation, event))
    return replace(reply, status=status, headers=(*headers, _JSON), body=body)


def _judged(call: Call, reply: Reply, content: bytes) -> Reply:
    if reply.status != 200:
        return reply
    explicit = call.limit_explicit and call.policy.truncated
    verdict = judge(call.operation, 200, content, limit_explicit=explicit)
    if is_no_answer(call.operation, verdict, content, streamed=call.streamed):
        raise UpstreamGarbled("the provider's answer is not one of its dialect")
    return replace(reply, body=Whole(content, verdict), usage=verdict.usage)
