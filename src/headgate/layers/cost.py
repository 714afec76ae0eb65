"""What each attempt will cost: below retry and the limits, because every attempt is billed by
itself; above the breaker, whose refusals are none.

Where the client's key has a budget, the estimate is reserved before and settled after.
"""

from __future__ import annotations

from typing import Any

from headgate.account import Account
from headgate.core.booking import Attempt
from headgate.core.budget import Hold
from headgate.core.client import Client
from headgate.core.estimate import (
    FREE_OPERATIONS,
    estimated_input,
    estimated_output,
    estimated_tokens,
)
from headgate.core.money import cost_nanos, tokens_of
from headgate.core.outcome import OK, Outcome
from headgate.errors import Unpriced
from headgate.events import Events
from headgate.spending import followed, reported_tier, reported_usage
from headgate.stream import Whole
from headgate.types import NO_USAGE, Call, Invocation, Reply, Service, Usage


def cost(below: Service) -> Service:
    """The layer: tells the account of the call how each attempt ended, and what was counted.

    Where the provider has not counted to the end, what it will have counted is estimated: the
    prompt, and the answer as far as it came. What a callable asks, nobody knows here. Raises
    SpendExhausted, and Unpriced where a budget is to pay what nobody knows the price of.
    """

    async def service(call: Call) -> Reply:
        account: Account | None = call.account
        if account is None or isinstance(call.request, Invocation):
            return await below(call)
        client: Client | None = call.client
        is_free = call.operation in FREE_OPERATIONS
        purse: Any = None if client is None or is_free else client.purse
        hold = None if purse is None else await _reserved(purse, call, account)
        trail = account.trail
        noted = None if trail is None else trail.begin(call.target.name)

        def over(outcome: Outcome, reply: Reply | None) -> None:
            if trail is not None and noted is not None:
                trail.end(noted, outcome, reply)
            if outcome.sent and not is_free:
                attempt = _attempt(call, outcome, reply)
                account.tried(attempt)
                if hold is not None:
                    _settle(purse, hold, account.billed(attempt))
            elif hold is not None:
                purse.release(hold)

        reply = await followed(below, call, over)
        if trail is not None and noted is not None:
            trail.first(noted)
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


async def _reserved(purse: Any, call: Call, account: Account) -> Hold | None:
    """What the attempt may cost, taken out of the budget; None where nobody knows, and that is
    allowed."""
    price = await account.standard_price(call.target.name)
    if price is not None:
        hold: Hold = purse.reserve(cost_nanos(price, tokens_of(_guessed(call))))
        return hold
    if purse.takes_unpriced:
        return None
    raise Unpriced(
        f"the price of {call.target.name[:200]} is not known, and this key has a budget: the "
        f"operator of this gateway can set it under [prices], or let it pass (keys.unpriced)"
    )


def _settle(purse: Any, hold: Hold, nanos: int | None) -> None:
    """A reply in a tier whose price nobody knows is taken for what was reserved."""
    purse.settle(hold, hold.nanos if nanos is None else nanos)


def _guessed(call: Call) -> Usage:
    """Tokens of a call that is still to be made."""
    if isinstance(call.request, Invocation):
        return NO_USAGE
    body = call.request.body
    tokens_in = estimated_input(body)
    is_embedding = call.operation == "embeddings"
    return Usage(tokens_in, 0 if is_embedding else estimated_tokens(body) - tokens_in)
