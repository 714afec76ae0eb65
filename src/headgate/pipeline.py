"""The stack, in one file: which layers a call passes, in which order, and why in that order.

docs/life-of-a-call.md tells the same story to people; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from headgate.clock import Clock
from headgate.config import Config
from headgate.joining.flight import FlightLimits
from headgate.layers.cache import Serving, cache
from headgate.layers.coalesce import coalesce
from headgate.layers.fill import Fill
from headgate.layers.observe import observe
from headgate.layers.settings import CacheConfig
from headgate.metrics import Metrics
from headgate.providers.fake import fake_service
from headgate.providers.function import call_function
from headgate.providers.http import http_service
from headgate.providers.relay import relay
from headgate.providers.wire import Wire
from headgate.stores.tiers import Tiers
from headgate.types import Call, Layer, Reply, Service, WireRequest

FUNCTION = "function"
"""Provider name of library calls: the caller's own callable."""
RELAY = "(relay)"
"""Provider of calls that bring along how they are sent, whatever their target is called."""


class Placed(NamedTuple):
    """A layer and the reason why it stands where it stands."""

    name: str
    layer: Layer
    reason: str


def front(
    config: CacheConfig, tiers: Tiers, fill: Fill, metrics: Metrics, clock: Clock
) -> tuple[Placed, ...]:
    """The layers above the choice of a target, outermost first."""
    serving = Serving(config.stale_if_error, config.max_stale, config.replay_pause)
    limits = FlightLimits(
        finish_within_s=config.finish_within, keep_max_bytes=config.entry_max_bytes
    )
    return (
        Placed("observe", observe(metrics, clock), "above all: counts hits and refusals too"),
        Placed("cache", cache(tiers, clock, serving), "a hit spends no tokens, no money, no wait"),
        Placed("coalesce", coalesce(limits), "below the cache: only misses are joined"),
        Placed("fill", fill, "below coalesce: the entry stands before its flight ends"),
    )


def stack(layers: tuple[Placed, ...], bottom: Service) -> Service:
    """`bottom` wrapped in `layers`, the first of them outermost."""
    service = bottom
    for placed in reversed(layers):
        service = placed.layer(service)
    return service


def by_target(services: Mapping[str, Service]) -> Service:
    """The Service of the provider that a call's target names, or that the call brings along."""

    async def service(call: Call) -> Reply:
        request = call.request
        relayed = isinstance(request, WireRequest) and request.send is not None
        return await services[RELAY if relayed else call.target.provider](call)

    return service


def providers(config: Config, wires: Mapping[str, Wire], clock: Clock) -> dict[str, Service]:
    """One Service per configured provider, one for callables, and one for SDKs of this process."""
    services: dict[str, Service] = {FUNCTION: call_function, RELAY: relay}
    for name, settings in config.providers.items():
        if settings.kind == "fake":
            services[name] = fake_service(settings, clock)
        else:
            services[name] = http_service(settings, wires[name])
    return services
