"""What each attempt will cost: below retry and the limits, because every attempt is billed by
itself; above the breaker, whose refusals are none."""

from __future__ import annotations

from headgate.account import Account
from headgate.core.booking import Attempt
from headgate.core.estimate import estimated_input, estimated_output
from headgate.core.outcome import OK, Outcome
from headgate.events import Events
from headgate.spending import followed, reported_tier, reported_usage
from headgate.stream import Whole
from headgate.types import NO_USAGE, Call, Invocation, Reply, Service, Usage


def cost(below: Service) -> Service:
    """The layer: tells the account of the call how each attempt ended, and what was counted.

    Where the provider has not counted to the end, what it will have counted is estimated: the
    prompt, and the answer as far as it came. What a callable asks, nobody knows here.
    """

    async def service(call: Call) -> Reply:
        account: Account | None = call.account
        if account is None or isinstance(call.request, Invocation):
            return await below(call)
        trail = account.trail
        attempt = None if trail is None else trail.begin(call.target.name)

        def over(outcome: Outcome, reply: Reply | None) -> None:
            if trail is not None and attempt is not None:
                trail.end(attempt, outcome, reply)
            if outcome.sent:
                account.tried(_attempt(call, outcome, reply))

        reply = await followed(below, call, over)
        if trail is not None and attempt is not None:
            trail.first(attempt)
        return reply

    return service


def _attempt(call: Call, outcome: Outcome, reply: Reply | None) -> Attempt:
    usage = NO_USAGE if reply is None else reported_usage(reply)
    says_nothing = call.operation == "embeddings" and usage != NO_USAGE
    is_counted = outcome.kind == OK and (usage.tokens_out > 0 or says_nothing)
    estimate = NO_USAGE if is_counted else _estimate(call, reply)
    tier = "" if reply is None else reported_tier(reply)
    return Attempt(call.target.name, outcome, usage, estimate, tier=tier)


def _estimate(call: Call, reply: Reply | None) -> Usage:
    if isinstance(call.request, Invocation):
        return NO_USAGE
    body = None if reply is None else reply.body
    tokens_out = 0
    if isinstance(body, Events):
        tokens_out = estimated_output(body.beginning(), body.kept_bytes)
    elif isinstance(body, Whole) and call.operation != "embeddings":
        tokens_out = estimated_output(body.content, len(body.content))
    return Usage(estimated_input(call.request.body), tokens_out)
