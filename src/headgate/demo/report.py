"""What the demo found out, and how it tells it. Pure: calls in, rows and lines out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

USD_PER_TOKEN_IN = 0.15e-6
USD_PER_TOKEN_OUT = 0.60e-6
PRICED_AS = "gpt-4o-mini ($0.15 per million tokens in, $0.60 out)"

UPSTREAM, JOINED, HIT = "from the provider", "from a joined call", "from the cache"
KINDS = (UPSTREAM, JOINED, HIT)


class Asked(Struct, frozen=True):
    """One call as its client saw it."""

    cache_status: str
    """The reply's `Cache-Status` header."""
    latency_ms: float
    tokens_in: int
    tokens_out: int

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        parts = [part.strip() for part in self.cache_status.split(";")]
        if "hit" in parts:
            return HIT
        return JOINED if "collapsed" in parts else UPSTREAM

    @property
    def cost_usd(self) -> float:
        """What the provider would charge for it."""
        return self.tokens_in * USD_PER_TOKEN_IN + self.tokens_out * USD_PER_TOKEN_OUT


class Total(Struct, frozen=True):
    """Sums over some calls; latencies in ms, 0 where there were none."""

    calls: int
    tokens: int
    cost_usd: float
    p50_ms: float
    p95_ms: float
    sum_ms: float


def total(calls: Sequence[Asked]) -> Total:
    """The sums and latency percentiles of `calls`."""
    latencies = sorted(call.latency_ms for call in calls)
    return Total(
        len(calls),
        sum(call.tokens_in + call.tokens_out for call in calls),
        sum(call.cost_usd for call in calls),
        _nearest_rank(latencies, 0.50),
        _nearest_rank(latencies, 0.95),
        sum(latencies),
    )


def rows(calls: Sequence[Asked]) -> list[tuple[Any, ...]]:
    """One row per way a call was answered, and their sum: the demo's table."""
    parts = [(kind, total([call for call in calls if call.kind == kind])) for kind in KINDS]
    return [_row(name, part, len(calls)) for name, part in [*parts, ("all", total(calls))]]


COLUMNS = ("answers", "calls", "share", "p50 ms", "p95 ms", "tokens", "USD")


def _row(name: str, part: Total, of: int) -> tuple[Any, ...]:
    share = f"{part.calls / of:.1%}" if of else "-"
    latencies = (f"{part.p50_ms:.1f}", f"{part.p95_ms:.1f}") if part.calls else ("-", "-")
    return (name, f"{part.calls:,}", share, *latencies, f"{part.tokens:,}", f"{part.cost_usd:.4f}")


def conclusion(calls: Sequence[Asked]) -> list[str]:
    """The same in words: hit rate, waiting, tokens and money; lines of at most 80 characters."""
    everything = total(calls)
    paid = total([call for call in calls if call.kind == UPSTREAM])
    saved_usd = everything.cost_usd - paid.cost_usd
    hits = total([call for call in calls if call.kind == HIT])
    share = saved_usd / everything.cost_usd if everything.cost_usd else 0.0
    hit_rate = hits.calls / len(calls) if calls else 0.0
    medians = [
        f"{part.p50_ms:.1f} ms {name}"
        for part, name in ((hits, "for a hit"), (paid, "from the provider"))
        if part.calls
    ]
    return [
        f"hit rate   {hit_rate:.1%}",
        f"medians    {', '.join(medians) or '-'}",
        f"tokens     {paid.tokens:,} billed, {everything.tokens - paid.tokens:,} avoided",
        f"dollars    {paid.cost_usd:.4f} billed, {saved_usd:.4f} saved ({share:.0%}),",
        f"           priced as {PRICED_AS}",
    ]


def disagreements(calls: Sequence[Asked], metrics: dict[str, Any]) -> list[str]:
    """Where the gateway's own numbers (the `metrics` of `/api/metrics/llm`) differ from what the
    clients saw; empty if the books agree."""
    paid = total([call for call in calls if call.kind == UPSTREAM])
    hits = sum(call.kind == HIT for call in calls)
    tokens = sum(row["tokens"] for row in metrics["by_model"].values())
    pairs = (
        ("calls", len(calls), metrics["total_calls"]),
        ("hits", hits, metrics["cache_hits"]),
        ("billed tokens", paid.tokens, tokens),
        ("errors", 0, metrics["total_errors"]),
    )
    return [f"{name}: clients {seen}, gateway {own}" for name, seen, own in pairs if seen != own]


def _nearest_rank(ordered: Sequence[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0.0
