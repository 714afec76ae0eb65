"""Requests and tokens per minute of each client: the front's own limit, whatever the target.

A client is who has a key of the gateway, or who sends a credential, whatever namespace it names: a
namespace of its own must not be a rate of its own. A key may have limits of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable

from headgate.clock import Clock
from headgate.core.client import Client
from headgate.core.estimate import FREE_OPERATIONS, estimated_tokens
from headgate.core.fingerprint import sender_of
from headgate.core.outcome import Outcome
from headgate.core.permits import Refusal
from headgate.core.rate import Rate, RateSettings, Reservation
from headgate.core.registry import Registry
from headgate.errors import RateLimited
from headgate.joining.seats import Party
from headgate.spending import Charge, followed, give_back
from headgate.types import Call, Layer, Reply, Service, WireRequest

_Rated = tuple[bytes, RateSettings | None]
"""Who is counted, and by which limits of its own."""
Clients = Registry[_Rated, Rate]
"""What each client has left of its minute; it may outlive a change of the configuration."""


def clients_under(settings: RateSettings) -> Clients:
    """The rates of clients, none of which is known yet: `settings` hold for who has no limits of
    its own, and for who shares one because there is no room for more."""

    def made(rated: _Rated | None, now_s: float) -> Rate:
        own = None if rated is None else rated[1]
        return Rate(own or settings, now_s)

    return Registry(made, Rate.is_idle)


def throttle(settings: RateSettings, clock: Clock, clients: Clients | None = None) -> Layer:
    """The layer; `settings` hold for who has no limits of its own. Raises RateLimited. Callables
    have no client and no limit. `clients` were made under `settings`; absent: new ones."""
    limits_all = settings.requests_per_min is not None or settings.tokens_per_min is not None
    known = clients_under(settings) if clients is None else clients

    def layer(below: Service) -> Service:
        throttled = _Throttled(below, known, clock)

        # No frame of its own where nothing is limited.
        def service(call: Call) -> Awaitable[Reply]:
            client: Client | None = call.client
            own = None if client is None else client.rates
            request = call.request
            if isinstance(request, WireRequest) and (limits_all or own is not None):
                if client is not None:
                    return throttled.ask(call, request, (client.rated, own))
                sender = request.sender or sender_of(request.credential)
                return throttled.ask(call, request, (sender, own))
            return below(call)

        return service

    return layer


class _Throttled:
    def __init__(self, below: Service, clients: Clients, clock: Clock) -> None:
        self._below = below
        self._clock = clock
        self._rates = clients

    async def ask(self, call: Call, request: WireRequest, rated: _Rated) -> Reply:
        now_s = self._clock.monotonic()
        rate = self._rates.get(rated, now_s)
        if call.seat is not None and call.seat.party is not None:
            return await self._ask_part(call, call.seat.party, rate)
        counts = rate.counts_tokens and call.operation not in FREE_OPERATIONS
        tokens = estimated_tokens(request.body) if counts else 0
        reservation = _granted(rate.reserve(tokens, now_s))

        def over(outcome: Outcome, reply: Reply | None) -> None:
            give_back(rate, reservation, outcome, reply, self._clock.monotonic())

        return await followed(self._below, call, over)

    async def _ask_part(self, call: Call, party: Party, rate: Rate) -> Reply:
        """The first part of a call is asked for the whole of it: one request, all its tokens, or a
        refusal for all of them."""
        clock = self._clock
        if party.reserved is None:
            party.reserved = rate.reserve(party.tokens, clock.monotonic())
            if not isinstance(party.reserved, Refusal):
                party.charge = Charge(rate, party.reserved)
        _granted(party.reserved)
        charge: Charge = party.charge
        charge.begin()

        def over(outcome: Outcome, reply: Reply | None) -> None:
            charge.end(call.seat.tokens, outcome, reply, clock.monotonic())

        return await followed(self._below, call, over)


def _granted(reservation: Reservation | Refusal) -> Reservation:
    if not isinstance(reservation, Refusal):
        return reservation
    message = (
        f"the {reservation.reason} per minute of this client are used up: wait as long as "
        "Retry-After says"
    )
    raise RateLimited(message, retry_after_s=reservation.retry_after_s)
