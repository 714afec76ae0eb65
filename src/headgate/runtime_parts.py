"""What of a runtime may outlive a change of its configuration: stores, connections, breakers.

A part goes on under the next configuration if every setting that it was made with is the same.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

from headgate import pipeline, telemetry
from headgate.calllog import CallLog, Sources
from headgate.clock import Clock
from headgate.config import Config, ProviderConfig
from headgate.layers.cache_settings import ignored_fields
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.pipeline import Limiting, Resilience
from headgate.pricing import Prices
from headgate.providers.wire import Wire
from headgate.providers.wire_client import open_wire
from headgate.stores.base import FastStore, SharedStore
from headgate.stores.ledger import LedgerFile
from headgate.stores.memory import MemoryStore
from headgate.stores.sqlite import SqliteStore
from headgate.stores.tiers import Tiers
from headgate.types import EVERYTHING


class Parts(NamedTuple):
    """Made for `config`; `wires` by the name of their provider."""

    config: Config
    tiers: Tiers
    wires: dict[str, Wire]
    resilience: Resilience
    ledger: Ledger
    calls: CallLog
    limiting: Limiting
    telemetry: Any
    """A `telemetry.Telemetry`, or None: nobody wants spans."""


def open_parts(
    config: Config, clock: Clock, before: Parts | None = None, told: Any = None
) -> Parts:
    """Parts for `config`, those of `before` among them that fit it; `told` is a telemetry to report
    to. Raises ConfigError."""
    told = telemetry.opened(config.metrics.otel, told, before and before.telemetry)
    wires = {
        name: _known_wire(name, settings, before) or open_wire(settings)
        for name, settings in config.providers.items()
        if settings.kind != "fake"
    }
    tiers, ledger = _tiers(config, clock, before), _ledger(config, clock, before)
    changed = frozenset() if before is None else _changed(config, before.config)
    limiting = pipeline.limiting(
        config, clock, None if before is None else before.limiting, changed
    )
    guarded = _resilience(config, clock, before, changed)
    guarded.guards.recovered = limiting.lanes.restart
    log = _call_log(config, clock, tiers, ledger, before)
    return Parts(config, tiers, wires, guarded, ledger, log, limiting, told)


def spans_of(parts: Parts, metrics: Metrics) -> Any:
    """The layers that report what happens, None where nobody wants to know."""
    if parts.telemetry is None:
        return None
    return parts.telemetry.spans(parts.config, parts.calls.clock, metrics, parts.ledger)


def _call_log(
    config: Config, clock: Clock, tiers: Tiers, ledger: Ledger, before: Parts | None
) -> CallLog:
    """What it holds goes on in any case."""
    memory = tiers.memory
    sources = Sources(
        ledger.price,
        lambda: (tiers.generation, memory.evictions),
        ignored_fields(config.cache),
    )
    known = None if before is None else before.calls
    return CallLog(config.calls.keep, clock, sources, ledger.prefix, known)


def _ledger(config: Config, clock: Clock, before: Parts | None) -> Ledger:
    """Its sums go on in any case, under the prices of `config`."""
    ledger = _booked(config, clock, before)
    ledger.reserve({*config.models, *config.cache.models})
    return ledger


def _booked(config: Config, clock: Clock, before: Parts | None) -> Ledger:
    known = None if before is None else before.ledger
    uses_list = known is not None and known.prices.uses_list
    prices = Prices(config, clock=clock, uses_list=uses_list)
    if before is not None and config.ledger == before.config.ledger:
        return Ledger(prices, clock, before.ledger.journal, known)
    settings = config.ledger
    journal = None
    if settings.persist:
        journal = LedgerFile(Path(settings.path), clock, settings.keep, settings.rows_max)
    return Ledger(prices, clock, journal, known)


async def release(parts: Parts, kept: Parts) -> None:
    """Closes what `kept` has not taken over; on the event loop that used it."""
    still_open = {id(wire) for wire in kept.wires.values()}
    for wire in parts.wires.values():
        if id(wire) not in still_open:
            await wire.aclose()
    journal = parts.ledger.journal
    if journal is not None and journal is not kept.ledger.journal:
        await asyncio.to_thread(journal.close)
    if parts.tiers is not kept.tiers:
        parts.tiers.unfollow()
    if parts.tiers.below is not kept.tiers.below:
        await asyncio.to_thread(parts.tiers.close)


def _resilience(
    config: Config, clock: Clock, before: Parts | None, changed: frozenset[str]
) -> Resilience:
    """Guards and hedges go on as they are where nothing they depend on has changed."""
    if before is None:
        return pipeline.resilience(config, clock)
    if not changed and _guarded(config) == _guarded(before.config):
        return before.resilience
    return pipeline.resilience(config, clock, before.resilience, changed)


def _guarded(config: Config) -> tuple[object, ...]:
    """Every setting that breakers, gates and budgets depend on, but for places and keys."""
    limits = {name: settings.total_timeout for name, settings in config.providers.items()}
    return config.breaker, config.retry, config.models, limits


def _changed(config: Config, before: Config) -> frozenset[str]:
    """Providers that are elsewhere now, or get other keys: what was learned of them, or counted, is
    worth nothing any more."""
    names = config.providers.keys() | before.providers.keys()
    return frozenset(
        name
        for name in names
        if _identity(config.providers.get(name)) != _identity(before.providers.get(name))
    )


def _identity(provider: ProviderConfig | None) -> tuple[object, ...]:
    if provider is None:
        return ()
    keys = [key.reveal() for key in (provider.api_key, *provider.api_keys)]
    return provider.kind, provider.base_url, keys


def _known_wire(name: str, settings: ProviderConfig, before: Parts | None) -> Wire | None:
    known = None if before is None else before.config.providers.get(name)
    if before is None or known is None or _place(known) != _place(settings):
        return None
    return before.wires.get(name)


def _place(provider: ProviderConfig) -> tuple[object, ...]:
    return provider.kind, provider.base_url, provider.connections_max


def _tiers(config: Config, clock: Clock, before: Parts | None) -> Tiers:
    """Memory keeps what it holds, as far as its new bounds allow."""
    if before is None:
        return Tiers(_memory(config), _disk(config, clock), clock)
    tiers = before.tiers
    keeps_memory = _memory_bounds(config) == _memory_bounds(before.config)
    keeps_disk = _disk_bounds(config) == _disk_bounds(before.config)
    if keeps_memory and keeps_disk:
        return tiers
    memory = tiers.memory if keeps_memory else _refilled(_memory(config), before, clock)
    return Tiers(memory, tiers.below if keeps_disk else _disk(config, clock), clock)


def _refilled(memory: FastStore, before: Parts, clock: Clock) -> FastStore:
    now_s, most = clock.epoch(), before.config.cache.maxsize
    # The most recently used come first, and are to go last.
    for entry in reversed(before.tiers.memory.list(EVERYTHING, now_s=now_s, limit=most)):
        memory.put(entry, now_s)
    return memory


def _memory_bounds(config: Config) -> tuple[int, int, float]:
    return config.cache.maxsize, config.cache.max_bytes, config.cache.max_stale


def _memory(config: Config) -> FastStore:
    return MemoryStore(*_memory_bounds(config))


def _disk_bounds(config: Config) -> tuple[object, ...]:
    """Empty where nothing is kept on disk."""
    cache = config.cache
    if not (cache.enabled and cache.persist):
        return ()
    return cache.persist_path, cache.persist_max_bytes, cache.max_stale


def _disk(config: Config, clock: Clock) -> SharedStore | None:
    cache = config.cache
    if not _disk_bounds(config):
        return None
    return SqliteStore(Path(cache.persist_path), cache.persist_max_bytes, clock, cache.max_stale)
