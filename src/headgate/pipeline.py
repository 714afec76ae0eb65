"""The stack, in one file: which layers a call passes, in which order, and why in that order.

docs/life-of-a-call.md tells the same story to people; a test compares the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple, Protocol

from headgate.calllog import CallLog
from headgate.clock import Clock
from headgate.config import Config
from headgate.core.allowance import AllowanceSettings
from headgate.core.backoff import BackoffSettings
from headgate.core.concurrency import ConcurrencySettings, LineSettings
from headgate.core.gate import GateSettings
from headgate.core.hedging import HedgeSettings
from headgate.core.microbatch import DELAY_MAX_S, BatchBounds
from headgate.core.rate import RateSettings
from headgate.guards import Guards, GuardSettings
from headgate.joining.company import Mixing
from headgate.joining.flight import Flight, FlightLimits
from headgate.lanes import Lanes, TargetLimits
from headgate.layers.attempt import attempt
from headgate.layers.batch import batch
from headgate.layers.breaker import breaker
from headgate.layers.cache import Serving, cache
from headgate.layers.cache_settings import ignored_fields
from headgate.layers.coalesce import coalesce
from headgate.layers.cost import cost
from headgate.layers.fallback import fallback
from headgate.layers.fill import Fill
from headgate.layers.hedge import Hedging
from headgate.layers.inputs import inputs
from headgate.layers.limit import limit
from headgate.layers.observe import observe
from headgate.layers.retry import retry
from headgate.layers.settings import CacheConfig
from headgate.layers.throttle import Clients, clients_under, throttle
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.providers.fake import fake_service
from headgate.providers.function import call_function
from headgate.providers.http import http_service, model_limits
from headgate.providers.relay import relay
from headgate.providers.wire import Wire
from headgate.resilience_settings import (
    allowance_settings,
    breaker_settings,
    first_token_limits,
    lease_s,
)
from headgate.stores.tiers import Tiers
from headgate.types import Call, Layer, Reply, Service, WireRequest

FUNCTION = "function"
"""Provider name of library calls: the caller's own callable."""
RELAY = "(relay)"
"""Provider of calls that bring along how they are sent, whatever their target is called."""


CountHit = Callable[[str, float], None]
Busy = Callable[[], Mapping[tuple[str, ...], tuple[int, ...]]]


class Placed(NamedTuple):
    """A layer and the reason why it stands where it stands. `busy` tells what it does just now, by
    model or by target."""

    name: str
    layer: Layer
    reason: str
    busy: Busy | None = None


class Limiting(NamedTuple):
    """What the limits have counted: of each client, and of each target."""

    client: RateSettings
    clients: Clients
    lanes: Lanes


def limiting(
    config: Config, clock: Clock, before: Limiting | None = None, changed: Collection[str] = ()
) -> Limiting:
    """Limits as `config` has them. What those of `before` have counted goes on where their settings
    are the same, but for the providers in `changed`. Raises ConfigError."""
    block = config.limits
    client = RateSettings(block.client_requests_per_minute, block.client_tokens_per_minute)
    known = before is not None and before.client == client
    clients = before.clients if before is not None and known else clients_under(client)
    start = block.concurrency_start or block.concurrency_max
    targets = TargetLimits(
        ConcurrencySettings(limit_start=start, limit_max=block.concurrency_max),
        LineSettings(block.queue_max, block.queue_wait),
        {
            name: RateSettings(provider.requests_per_minute, provider.tokens_per_minute)
            for name, provider in config.providers.items()
        },
        frozenset(name for name, provider in config.providers.items() if provider.has_key),
    )
    lanes = Lanes(targets, clock, None if before is None else before.lanes, changed)
    return Limiting(client, clients, lanes)


class Limits(NamedTuple):
    """The limits of clients and those of targets."""

    throttle: Placed
    limit: Placed


def limits(parts: Limiting, clock: Clock) -> Limits:
    """The two layers that say no to what is too much."""
    throttled = throttle(parts.client, clock, parts.clients)
    return Limits(
        Placed("throttle", throttled, "below coalesce: hits and joined calls cost 0"),
        Placed(
            "limit",
            limit(parts.lanes, clock),
            "below retry: every attempt takes a place anew",
            parts.lanes.occupancy,
        ),
    )


def observed(
    metrics: Metrics, ledger: Ledger, clock: Clock, calls: CallLog | None = None
) -> Placed:
    """The layer that counts and books, and keeps the log of calls."""
    layer = observe(metrics, clock, ledger, calls)
    return Placed("observe", layer, "above all: counts hits and refusals too")


def front(
    config: CacheConfig,
    tiers: Tiers,
    fill: Fill,
    clock: Clock,
    observed: Placed,
    throttled: Placed,
) -> tuple[Placed, ...]:
    """The layers above the choice of a target, outermost first."""
    serving = Serving(config.stale_if_error, config.max_stale, config.replay_pause)
    bounds = FlightLimits(
        finish_within_s=config.finish_within, keep_max_bytes=config.entry_max_bytes
    )
    flights: dict[bytes, Flight] = {}
    return (
        observed,
        Placed("cache", cache(tiers, clock, serving), "a hit spends no tokens, no money, no wait"),
        Placed(
            "coalesce",
            coalesce(bounds, flights),
            "below the cache: only misses are joined",
            lambda: _by_model(flights),
        ),
        throttled,
        Placed("fill", fill, "below coalesce: the entry stands before its flight ends"),
    )


def batched(
    front: tuple[Placed, ...], config: Config, tiers: Tiers, metrics: Metrics, clock: Clock
) -> tuple[Placed, ...]:
    """The layers of `front` with two more where embeddings calls go upstream together."""
    settings = config.batch
    if not settings.enabled:
        return front
    bounds = BatchBounds(
        settings.items_max,
        settings.tokens_max,
        min(settings.delay_max, DELAY_MAX_S),
        settings.queue_max,
        config.limits.concurrency_max,
    )
    parted = inputs(tiers, clock, ignored_fields(config.cache))
    keyed = frozenset(name for name, provider in config.providers.items() if provider.has_key)
    joined = batch(bounds, clock, metrics.batches, Mixing(settings.across_tenants, keyed))
    return (
        front[0],
        Placed("inputs", parted, "above the cache: what it keeps is the answer to one input"),
        *front[1:],
        Placed("batch", joined, "below fill and above every target: one request is one attempt"),
    )


def _by_model(flights: Mapping[bytes, Flight]) -> dict[tuple[str, ...], tuple[int, ...]]:
    """How many are under way."""
    counts = Counter(flight.model for flight in list(flights.values()))
    return {(model,): (count,) for model, count in counts.items()}


class Resilience(NamedTuple):
    """What the layers per target share: the guards, and how often something is tried."""

    guards: Guards
    allowance: AllowanceSettings
    backoff: BackoffSettings
    hedging: Hedging
    deadline_s: float


def resilience(
    config: Config, clock: Clock, before: Resilience | None = None, changed: Collection[str] = ()
) -> Resilience:
    """The settings as the layers take them. What the guards of `before` have learned goes on, but
    for the providers in `changed`. Raises ConfigError where settings contradict each other."""
    retry_config = config.retry
    allowance = allowance_settings(retry_config)
    own = frozenset(name for name, settings in config.providers.items() if settings.has_key)
    reasoning = frozenset(name for name, model in config.models.items() if model.reasoning)
    guards = Guards(
        GuardSettings(
            breaker=breaker_settings(config.breaker, lease_s=lease_s(config)),
            gate=GateSettings(),
            allowance=allowance,
            is_enabled=config.breaker.enabled,
            guards_callables=config.breaker.callables,
            own_keys=own,
            reasoning=reasoning,
        ),
        clock,
        None if before is None else before.guards,
        changed,
    )
    backoff = BackoffSettings(retry_config.backoff, retry_config.backoff_max)
    hedging = Hedging(HedgeSettings(retry_config.hedge, retry_config.hedge_budget), guards, clock)
    return Resilience(guards, allowance, backoff, hedging, retry_config.deadline)


def per_target(
    config: Config, parts: Resilience, clock: Clock, limited: Placed
) -> tuple[Placed, ...]:
    """The layers that choose a target and guard it, outermost first."""
    limit_of = first_token_limits(config)
    keep_max_bytes = config.cache.entry_max_bytes
    return (
        Placed(
            "fallback",
            fallback(parts.allowance, parts.deadline_s, parts.hedging, parts.guards, clock),
            "above everything per target: it chooses the target",
        ),
        Placed(
            "retry",
            retry(parts.backoff, parts.guards, clock),
            "above the breaker: every attempt is seen by it",
        ),
        limited,
        Placed("cost", cost, "below the limits: every attempt costs, what they refuse does not"),
        Placed(
            "breaker",
            breaker(parts.guards, clock),
            "above the attempt: it must see its time limits; its permit is taken last",
        ),
        Placed(
            "attempt",
            attempt(limit_of, keep_max_bytes, clock),
            "closest to the wire: what came is judged once, for all above",
        ),
    )


class Spans(Protocol):
    """What reports calls and attempts: `telemetry.spans`."""

    calls: Layer
    attempts: Layer
    counted: Callable[[CountHit], CountHit]


def traced(layers: tuple[Placed, ...], spans: Spans | None) -> tuple[Placed, ...]:
    """`layers` with two more where somebody wants spans: without them nothing is asked per call."""
    if spans is None:
        return layers
    calls = Placed("span", spans.calls, "below observe, which has named the call")
    attempts = Placed("attempt span", spans.attempts, "below the breaker: refusals are no attempts")
    return (layers[0], calls, *layers[1:-1], attempts, layers[-1])


def told_hits(record: CountHit, spans: Spans | None) -> CountHit:
    """What a hit of the library is counted by."""
    return record if spans is None else spans.counted(record)


def stack(layers: tuple[Placed, ...], bottom: Service) -> Service:
    """`bottom` wrapped in `layers`, the first of them outermost."""
    service = bottom
    for placed in reversed(layers):
        service = placed.layer(service)
    return service


def by_target(services: Mapping[str, Service]) -> Service:
    """The Service of the provider that a call's target names, or that the call brings along."""

    # No frame of its own.
    def service(call: Call) -> Awaitable[Reply]:
        request = call.request
        relayed = isinstance(request, WireRequest) and request.send is not None
        return services[RELAY if relayed else call.target.provider](call)

    return service


def providers(config: Config, wires: Mapping[str, Wire], clock: Clock) -> dict[str, Service]:
    """One Service per configured provider, one for callables, and one for SDKs of this process."""
    services: dict[str, Service] = {FUNCTION: call_function, RELAY: relay}
    for name, settings in config.providers.items():
        if settings.kind == "fake":
            services[name] = fake_service(settings, clock)
        else:
            limits = model_limits(settings, config.models)
            services[name] = http_service(settings, wires[name], clock, limits)
    return services
