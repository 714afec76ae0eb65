"""What the runtime tells of its cache."""

from __future__ import annotations

from headgate.layers.settings import CacheConfig
from headgate.runtime_numbers import cache_numbers
from headgate.stores.base import StoreStats

CALLS = {"cache_hits": 3, "cache_misses": 1, "cache_hit_rate": 0.75}


def test_settings_calls_and_stores_stand_side_by_side() -> None:
    memory = StoreStats("memory", entries=2, size_bytes=900, evictions=4, expirations=5)
    told = cache_numbers(CacheConfig(maxsize=7), CALLS, [memory], {"no_store": 6})
    assert (told["enabled"], told["maxsize"], told["ttl"]) == (True, 7, 3600.0)
    assert (told["size"], told["bytes"]) == (2, 900)
    assert (told["hits"], told["misses"], told["hit_rate"]) == (3, 1, 0.75)
    assert (told["evictions"], told["expirations"]) == (4, 5)
    assert told["not_stored"] == {"no_store": 6}


def test_hits_of_the_memory_tier_are_not_told_as_most_looks_are_not_counted() -> None:
    tiers = [StoreStats("memory", hits=1), StoreStats("disk", entries=9, hits=8, misses=7)]
    told = cache_numbers(CacheConfig(), CALLS, tiers, {})["tiers"]
    assert not {"hits", "misses"} & set(told["memory"])
    assert (told["disk"]["hits"], told["disk"]["misses"], told["disk"]["entries"]) == (8, 7, 9)
