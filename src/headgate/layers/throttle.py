"""Requests and tokens per minute of each client: the front's own limit, whatever the target.

A client is who sends a credential, whatever namespace it names: a namespace of its own must not be
a rate of its own.
"""

from __future__ import annotations

from headgate.clock import Clock
from headgate.core.estimate import estimated_tokens
from headgate.core.fingerprint import sender_of
from headgate.core.outcome import Outcome
from headgate.core.permits import Refusal
from headgate.core.rate import Rate, RateSettings
from headgate.core.registry import Registry
from headgate.errors import RateLimited
from headgate.spending import followed, give_back
from headgate.types import Call, Layer, Reply, Service, WireRequest

Clients = Registry[bytes, Rate]
"""What each client has left of its minute; it may outlive a change of the configuration."""


def clients_under(settings: RateSettings) -> Clients:
    """The rates of clients under `settings`, none of which is known yet."""
    return Registry(lambda client, now_s: Rate(settings, now_s), Rate.is_idle)


def throttle(settings: RateSettings, clock: Clock, clients: Clients | None = None) -> Layer:
    """The layer; none at all where nothing is limited. Raises RateLimited. Callables have no client
    and no limit. `clients` were made under `settings`; absent: new ones."""
    if settings.requests_per_min is None and settings.tokens_per_min is None:
        return lambda below: below
    known = clients_under(settings) if clients is None else clients
    return lambda below: _Throttled(below, known, clock).ask


class _Throttled:
    def __init__(self, below: Service, clients: Clients, clock: Clock) -> None:
        self._below = below
        self._clock = clock
        self._rates = clients

    async def ask(self, call: Call) -> Reply:
        request = call.request
        if not isinstance(request, WireRequest):
            return await self._below(call)
        now_s = self._clock.monotonic()
        rate = self._rates.get(sender_of(request.credential), now_s)
        tokens = estimated_tokens(request.body) if rate.counts_tokens else 0
        reservation = rate.reserve(tokens, now_s)
        if isinstance(reservation, Refusal):
            message = f"the {reservation.reason} per minute of this client are used up"
            raise RateLimited(message, retry_after_s=reservation.retry_after_s)

        def over(outcome: Outcome, reply: Reply | None) -> None:
            give_back(rate, reservation, outcome, reply, self._clock.monotonic())

        return await followed(self._below, call, over)
