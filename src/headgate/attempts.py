"""What an attempt came to: the outcome of a reply, now or when its stream has ended.

Breaker, limits, retry and fallback read the same outcome; none of them reads a body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from headgate.core.allowance import ATTEMPTS, DEADLINE, FINAL, Allowance
from headgate.core.attribution import of_error, of_event, of_reply
from headgate.core.idempotency import key_at
from headgate.core.outcome import GOOD, OK, OUTCOMES, Outcome
from headgate.core.rewrite import renamed
from headgate.errors import SDK_WAIT_MAX_S, Refused, UpstreamFailed
from headgate.events import Events
from headgate.stream import Tap, Whole
from headgate.types import TARGET, Call, Reply, Route, Service, WireRequest

_CLOSES = 300
_SDKS_REPEAT = frozenset({408, 409, 429})
"""What the official SDKs try again, besides everything from 500 on."""


def outcome_of(reply: Reply, wall_s: float | None = None) -> Outcome:
    """Of a reply whose head, and the first content of whose stream, is here. `wall_s` is seconds
    since 1970: what a Retry-After that is a date is compared with."""
    body = reply.body
    if isinstance(body, Whole):
        if reply.status >= _CLOSES:
            return of_reply(reply.status, reply.headers, body.content, wall_s)
        is_error = body.verdict is not None and body.verdict.skip == "error_in_answer"
        return of_event(body.content) if is_error else GOOD
    if isinstance(body, Events) and body.error_event and not body.has_content:
        return of_event(body.error_event)
    return GOOD if reply.status < _CLOSES else of_reply(reply.status, reply.headers, b"", wall_s)


def when_over(reply: Reply, tell: Callable[[Outcome], None], wall_s: float | None = None) -> Reply:
    """Tells once how the attempt ended: a stream at its end, read or not, anything else now. So is
    a stream that begins with an error: who keeps it meanwhile holds nothing."""
    body = reply.body
    if isinstance(body, Whole):
        tell(outcome_of(reply, wall_s))
        return reply
    if isinstance(body, Events) and not (body.error_event and not body.has_content):
        body.watch(lambda events, error: tell(_of_stream(events, error)))
        return reply
    if reply.status < _CLOSES and _is_stream(reply) and not isinstance(body, Events):
        tap = Tap(body, lambda error: tell(GOOD if error is None else of_error(error)))
        return replace(reply, body=tap)
    tell(outcome_of(reply, wall_s))
    return reply


def _of_stream(events: Events, error: BaseException | None) -> Outcome:
    if events.error_event:
        return of_event(events.error_event, committed=events.has_content)
    if error is None or events.inspection.is_finished:
        return GOOD
    if isinstance(error, GeneratorExit):
        return OUTCOMES["left"]
    return of_error(error, committed=events.has_content)


def _is_stream(reply: Reply) -> bool:
    for name, value in reply.headers:
        if name == b"content-type" and value.startswith(b"text/event-stream"):
            return True
    return False


class Tried(Struct):
    """One attempt that came to an end, or to the first content of its stream."""

    outcome: Outcome
    reply: Reply | None = None
    error: UpstreamFailed | None = None

    def hand_on(self) -> Reply:
        """The reply. Raises the error where there is none."""
        if self.reply is None:
            raise self.error or UpstreamFailed("no attempt was made")
        return self.reply

    async def aclose(self) -> None:
        """Lets go of a reply that is not handed on."""
        if self.reply is not None:
            await self.reply.body.aclose()


class Kept:
    """The last attempt of a call, and the refusal that ends first. As a context it lets go of a
    reply that was not handed on."""

    def __init__(self) -> None:
        self._last: Tried | None = None
        self._refusal: Refused | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        last, self._last = self._last, None
        if last is not None:
            await last.aclose()

    async def tried(self, attempt: Tried) -> None:
        """In place of the one before."""
        last, self._last = self._last, attempt
        if last is not None:
            await last.aclose()

    def refused(self, refusal: Refused) -> None:
        """Of two, the one that ends first stays."""
        known = self._refusal
        if (
            known is None
            or known.retry_after_s is None
            or (refusal.retry_after_s is not None and refusal.retry_after_s < known.retry_after_s)
        ):
            self._refusal = refusal

    def hand_on(self) -> Tried:
        """The last attempt, which is the caller's now. Raises the refusal where there is none."""
        last, self._last = self._last, None
        if last is None:
            raise self._refusal or UpstreamFailed("no attempt was made")
        return last


def aimed_at(call: Call, route: Route, *, sole: bool = True, queues: bool = True) -> Call:
    """The call as it goes to one target, which has its own name for the model. A client's own
    idempotency key is for the first target; any other gets one that follows from it."""
    target, request = route.target, call.request
    if isinstance(request, WireRequest):
        if target.model != call.target.model:
            request = replace(request, body=renamed(request.body, target.model))
        if request.name and target.name != call.target.name:
            request = replace(request, name=key_at(request.name, target.name))
    return replace(
        call, target=target, request=request, sole=sole, queues=queues, set_as=route.model
    )


async def tried(below: Service, call: Call, wall_s: float) -> Tried:
    """Asks below; a failure of the provider comes back as a value, anything else is raised."""
    try:
        reply = await below(call)
    except UpstreamFailed as error:
        return Tried(of_error(error, wall_s=wall_s), error=error)
    return Tried(outcome_of(reply, wall_s), reply=reply)


async def only_tried(below: Service, call: Call, route: Route, wall_s: float) -> Reply:
    """What a call comes to that has no way to go but `route`. Raises its error, or the refusal."""
    allowance: Allowance = call.allowance
    try:
        reply = await below(call)
    except Refused as error:
        error.attempts = allowance.attempts
        raise
    except UpstreamFailed as error:
        return failed(Tried(of_error(error, wall_s=wall_s), error=error), allowance)
    outcome = outcome_of(reply, wall_s)
    if outcome.kind == OK:
        return answered(reply, allowance, route)
    return failed(Tried(outcome, reply), allowance)


def answered(reply: Reply, allowance: Allowance, route: Route) -> Reply:
    """The answer, with what it took to get it."""
    is_stand_in = route.role != TARGET
    if allowance.attempts <= 1 and not is_stand_in:
        return reply
    provenance = replace(reply.provenance, attempts=allowance.attempts, is_stand_in=is_stand_in)
    return replace(reply, provenance=provenance)


def failed(last: Tried, allowance: Allowance) -> Reply:
    """The last failure, marked so that the client's own retries do not multiply ours."""
    if last.error is not None:
        last.error.attempts = allowance.attempts
        is_late = allowance.denied == DEADLINE or last.outcome.reason == "deadline"
        last.error.should_retry = None if is_late else False
    reply = last.hand_on()
    provenance = replace(reply.provenance, attempts=allowance.attempts)
    headers = reply.headers
    if _is_vain(last, allowance):
        headers = tuple(header for header in headers if header[0] != b"x-should-retry")
        headers += ((b"x-should-retry", b"false"),)
    return replace(reply, headers=headers, provenance=provenance)


def _is_vain(last: Tried, allowance: Allowance) -> bool:
    """Whether the client is to leave it at that: our own attempts are spent, the same would come
    again, or its SDK would ask before the Retry-After is over. Where only one attempt was made,
    nothing of ours is multiplied."""
    if (last.outcome.retry_after_s or 0.0) > SDK_WAIT_MAX_S:
        return True
    if allowance.denied == FINAL:
        status = UpstreamFailed.status_hint if last.reply is None else last.reply.status
        return status in _SDKS_REPEAT or status >= 500
    if allowance.denied in ("", ATTEMPTS):
        return allowance.attempts > 1
    return allowance.denied != DEADLINE
