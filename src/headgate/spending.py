"""What a call took of a rate: the provider's own count where there is one, else the estimate."""

from __future__ import annotations

import sys
from collections.abc import Callable

from headgate.attempts import outcome_of, when_over
from headgate.core.attribution import of_error
from headgate.core.outcome import IGNORED, OK, REMOTE, Outcome
from headgate.core.rate import Rate, Reservation
from headgate.core.verdict import tier_in, usage_in
from headgate.stream import Whole
from headgate.types import NO_USAGE, Call, Reply, Service, Usage


async def followed(
    below: Service, call: Call, tell: Callable[[Outcome, Reply | None], None]
) -> Reply:
    """The reply of `below`. `tell` hears once how the call ended, and what reply it had: at once
    where it failed or all of it is here, else at the end of the stream."""
    has_reply = False
    try:
        reply = await below(call)
        has_reply = True
    finally:
        # Of a cancelled call, too; the error goes on.
        if not has_reply and (error := sys.exception()) is not None:
            tell(of_error(error), None)
    if isinstance(reply.body, Whole):
        tell(outcome_of(reply), reply)
        return reply
    return when_over(reply, lambda outcome: tell(outcome, reply))


def reported_usage(reply: Reply) -> Usage:
    """What the provider counted, as far as it has said so: at the end of a stream, ask again."""
    if reply.usage is not NO_USAGE:
        return reply.usage
    if isinstance(reply.body, Whole):
        return usage_in(reply.body.content)
    inspection = getattr(reply.body, "inspection", None)
    return NO_USAGE if inspection is None else inspection.usage


def reported_tier(reply: Reply) -> str:
    """The service tier that the reply names, as far as it has said so; "" where it has not."""
    body = reply.body
    if isinstance(body, Whole):
        said = tier_in(body.content) if body.verdict is None else body.verdict.tier
        return reply.tier or said
    inspection = getattr(body, "inspection", None)
    return reply.tier if inspection is None else inspection.tier


def give_back(
    rate: Rate, reservation: Reservation, outcome: Outcome, reply: Reply | None, now_s: float
) -> None:
    """Ends a reservation as its attempt ended; `reply` is None where none came.

    What was not sent costs nothing. What the provider refused costs a request and no tokens. Where
    nobody has counted, or not to the end, the estimate stands.
    """
    if not outcome.sent:
        rate.release(reservation, now_s)
        return
    rate.settle(reservation, _taken(rate, reservation.tokens, outcome, reply), now_s)


def _taken(rate: Rate, estimate: int, outcome: Outcome, reply: Reply | None) -> int:
    reported = 0
    if reply is not None and rate.counts_tokens:
        reported = reported_usage(reply).tokens
    if outcome.kind == OK and reported:
        return reported
    if outcome.kind == IGNORED and outcome.origin == REMOTE:
        return 0
    return max(estimate, reported)


class Charge:
    """The reservation of a call whose parts are asked for each by itself: it is one request, and
    ends when none of its parts is under way."""

    __slots__ = ("_is_sent", "_parts", "_rate", "_reservation", "_tokens")

    def __init__(self, rate: Rate, reservation: Reservation) -> None:
        self._rate = rate
        self._reservation = reservation
        self._parts = self._tokens = 0
        self._is_sent = False

    def begin(self) -> None:
        """A part is on its way."""
        self._parts += 1

    def end(self, estimate: int, outcome: Outcome, reply: Reply | None, now_s: float) -> None:
        """It has ended like this; `estimate` is its tokens where nobody has counted."""
        self._parts -= 1
        if outcome.sent:
            self._is_sent = True
            self._tokens += _taken(self._rate, estimate, outcome, reply)
        if self._parts:
            return
        if self._is_sent:
            self._rate.settle(self._reservation, self._tokens, now_s)
        else:
            self._rate.release(self._reservation, now_s)
