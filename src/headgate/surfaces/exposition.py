"""/metrics: our own counters as Prometheus text, under the names of the seed's queries.

`rate()` and `histogram_quantile()` look at neither TYPE nor suffix, so bare names of type unknown
answer those queries as they are written; a `Counter` could not, because it appends `_total`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from headgate.runtime import Runtime
from headgate.surfaces.exposition_breakers import breaker_families

_HELP = {
    "llm_calls": "Finished calls, hits and failures included.",
    "llm_errors": "Failed calls, without the caller's own mistakes.",
    "llm_cache_hits": "Calls answered by the cache.",
    "llm_cache_misses": "Calls that consulted the cache in vain.",
    "llm_tokens": "Tokens of upstream answers; a hit adds none.",
    "llm_latency_ms": "Calls at or below a latency in milliseconds, hits included.",
    "headgate_cache_entries": "Entries in a store.",
    "headgate_cache_bytes": "Bytes of entries in a store.",
    "headgate_cache_evictions_total": "Entries removed before their time to stay within a bound.",
    "headgate_cache_store_skipped_total": "Answers that were not stored, by reason.",
}


class _Numbers(Collector):
    """Reads the runtime at scrape time; nothing is recorded twice."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        stats = self._runtime.stats()
        yield from self._calls()
        yield from _cache(stats["cache"])
        yield from breaker_families(stats["breakers"])

    def _calls(self) -> Iterator[Metric]:
        families = {name: Metric(name, text, "unknown") for name, text in _HELP.items()}
        for row in self._runtime.metrics.series():
            labels = {"model": row.model}
            families["llm_calls"].add_sample("llm_calls", labels, row.calls)
            families["llm_errors"].add_sample("llm_errors", labels, row.errors)
            families["llm_cache_hits"].add_sample("llm_cache_hits", labels, row.hits)
            families["llm_cache_misses"].add_sample("llm_cache_misses", labels, row.misses)
            for kind, count in (("input", row.tokens_in), ("output", row.tokens_out)):
                families["llm_tokens"].add_sample("llm_tokens", {**labels, "type": kind}, count)
            for bound, count in row.latency_buckets:
                bucket = {**labels, "le": str(bound)}
                families["llm_latency_ms"].add_sample("llm_latency_ms", bucket, count)
            last = {**labels, "le": "+Inf"}
            families["llm_latency_ms"].add_sample("llm_latency_ms", last, row.calls)
        yield from (family for name, family in families.items() if name.startswith("llm_"))


def _cache(stats: dict[str, Any]) -> Iterator[Metric]:
    entries = Metric("headgate_cache_entries", _HELP["headgate_cache_entries"], "gauge")
    size = Metric("headgate_cache_bytes", _HELP["headgate_cache_bytes"], "gauge")
    name = "headgate_cache_evictions"
    evictions = Metric(name, _HELP[f"{name}_total"], "counter")
    for store, tier in stats["tiers"].items():
        entries.add_sample(entries.name, {"store": store}, tier["entries"])
        size.add_sample(size.name, {"store": store}, tier["size_bytes"])
        evictions.add_sample(f"{name}_total", {"store": store}, tier["evictions"])
    name = "headgate_cache_store_skipped"
    skipped = Metric(name, _HELP[f"{name}_total"], "counter")
    for reason, count in stats["not_stored"].items():
        skipped.add_sample(f"{name}_total", {"reason": reason}, count)
    yield from (entries, size, evictions, skipped)


class Exposition:
    """Renders /metrics in the format the scraper asks for."""

    def __init__(self, runtime: Runtime) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Numbers(runtime))

    def render(self, accept: str) -> tuple[bytes, bytes]:
        """Body and content type, by the scraper's Accept header; one that makes no sense gets what
        one without gets."""
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # The library compares the parts of a version as they come: "1.x", "abc".
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type.encode()
