"""What `Runtime.stats` tells of the cache. Reads nothing by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import asdict

from headgate.layers.settings import CacheConfig
from headgate.stores.base import StoreStats


def cache_numbers(
    cache: CacheConfig,
    calls: Mapping[str, Any],
    tiers: Sequence[StoreStats],
    skipped: Mapping[str, int],
) -> dict[str, Any]:
    """At least the keys of the seed document. `calls` are the numbers of the metrics, `tiers` those
    of each store, memory first, `skipped` how many answers were not stored, by reason."""
    memory = tiers[0]
    return {
        "enabled": cache.enabled,
        "size": memory.entries,
        "maxsize": cache.maxsize,
        "bytes": memory.size_bytes,
        "max_bytes": cache.max_bytes,
        "ttl": cache.ttl,
        "hits": calls["cache_hits"],
        "misses": calls["cache_misses"],
        "hit_rate": calls["cache_hit_rate"],
        "evictions": memory.evictions,
        "expirations": memory.expirations,
        "not_stored": dict(skipped),
        "tiers": {tier.name: _counters(tier) for tier in tiers},
    }


def _counters(tier: StoreStats) -> dict[str, Any]:
    """Without those of memory that would mislead: it is looked at without counting."""
    counters = asdict(tier)
    if tier.name == "memory":
        del counters["hits"], counters["misses"]
    return counters
