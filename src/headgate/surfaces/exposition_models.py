"""The part of /metrics about models: calls, latencies, tokens and dollars. Pure.

A model has all its series from its first call on, at 0: where one side of a division is missing,
Prometheus drops the model.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.core.booking import AVOIDED, BILLED
from headgate.core.histogram import coarse
from headgate.core.series import RESULTS, STALE, ModelSeries
from headgate.core.tally import BATCH, Tally
from headgate.core.tally_batches import SIZES, parts_of
from headgate.core.totals import Sum
from headgate.surfaces.exposition_text import (
    COUNTER,
    HISTOGRAM,
    LE_MS,
    UNKNOWN,
    Family,
    escaped,
    labelled,
)

_NANOS = 1_000_000_000
_MS = 1000
_US = 1_000_000
LE_SIZES = [*(f'le="{size}"' for size in SIZES), 'le="+Inf"']


def series_in(totals: Tally) -> list[ModelSeries]:
    """The numbers of each model."""
    found: dict[str, ModelSeries] = {}
    for name, counts in totals.items():
        if name[0] == "model":
            found[name[1]] = ModelSeries.of(name[1], counts)
    for family, *labels in totals:
        if family not in ("error", "refusal"):
            continue
        model, kind = labels
        series = found.setdefault(model, ModelSeries(model))
        kinds = series.errors if family == "error" else series.refusals
        kinds[kind] = totals[family, model, kind][0]
    return list(found.values())


def sums_in(totals: Tally) -> dict[str, dict[str, Sum]]:
    """What the ledger has booked, by model and kind."""
    found: dict[str, dict[str, Sum]] = {}
    for name, counts in totals.items():
        if name[0] == "ledger":
            found.setdefault(name[1], {})[name[2]] = Sum(*counts)
    return found


def batch_families(totals: Tally) -> Iterator[Family]:
    """Requests that carried the inputs of embeddings calls."""
    size = Family("headgate_batch_size", "Inputs of a request for embeddings.", HISTOGRAM)
    wait = Family("headgate_batch_wait_seconds", "How long embeddings calls waited to be sent.",
                  HISTOGRAM)  # fmt: skip
    for name, counts in totals.items():
        if name[0] == BATCH:
            sizes, waits, items, wait_us = parts_of(counts)
            model = labelled(model=name[1])
            size.add_buckets(model, sizes, items, LE_SIZES)
            wait.add_buckets(model, waits, wait_us / _US)
    yield from (size, wait)


def compat_families(rows: list[ModelSeries]) -> Iterator[Family]:
    """The names of the seed's queries: without suffix, so of no type."""
    calls = Family("llm_calls", "Finished calls, hits and failures included.", UNKNOWN)
    errors = Family("llm_errors", "Failed and refused calls, without the caller's own mistakes.",
                    UNKNOWN)  # fmt: skip
    hits = Family("llm_cache_hits", "Calls answered by the cache.", UNKNOWN)
    misses = Family("llm_cache_misses", "Calls that consulted the cache in vain, joined ones too.",
                    UNKNOWN)  # fmt: skip
    tokens = Family("llm_tokens", "Tokens of upstream answers; a hit adds none.", UNKNOWN)
    latency = Family("llm_latency_ms", "Calls at or below a latency in milliseconds, hits too.",
                     UNKNOWN)  # fmt: skip
    for row in rows:
        model = labelled(model=row.model)
        calls.add(model, row.calls)
        errors.add(model, row.failures)
        hits.add(model, row.hits)
        misses.add(model, row.misses)
        tokens.add(f'{model},type="input"', row.tokens_in)
        tokens.add(f'{model},type="output"', row.tokens_out)
        heights = [count for _, count in row.latency_buckets] + [row.calls]
        for bound, height in zip(LE_MS, heights, strict=True):
            latency.add(f"{bound},{model}", height)
    yield from (calls, errors, hits, misses, tokens, latency)


def duration_family(rows: list[ModelSeries]) -> Family:
    """The latency of calls under its usual name, and by whether the cache answered."""
    family = Family("headgate_call_duration_seconds", "How long calls took.", HISTOGRAM)
    for row in rows:
        model, hits = labelled(model=row.model), row.hit_buckets
        others = [every - hit for every, hit in zip(coarse(row.counts), hits, strict=True)]
        if any(hits):
            family.add_buckets(f'{model},cached="true"', hits, row.hit_sum_ms / _MS)
        rest_s = max(0.0, row.sum_ms - row.hit_sum_ms) / _MS
        family.add_buckets(f'{model},cached="false"', others, round(rest_s, 6))
    return family


def call_families(rows: list[ModelSeries]) -> Iterator[Family]:
    """How calls ended, and what the cache had to do with it."""
    calls = Family("headgate_calls", "Finished calls by how they ended.", COUNTER)
    lookups = Family("headgate_cache_lookups", "Calls by what the cache did for them.", COUNTER)
    hits = Family("headgate_cache_hits", "Calls answered by the cache, by its layer.", COUNTER)
    followers = Family("headgate_followers", "Calls that joined another under way.", COUNTER)
    first = Family("headgate_time_to_first_chunk_seconds",
                   "Until the first content of a stream from upstream.", HISTOGRAM)  # fmt: skip
    for row in rows:
        model = labelled(model=row.model)
        for result, count in zip(RESULTS, row.results, strict=True):
            calls.add(f'{model},result="{result}"', count)
        bypassed = max(0, row.calls - row.hits - row.misses)
        for result, count in (("hit", row.hits), ("miss", row.misses), ("bypass", bypassed)):
            lookups.add(f'{model},result="{result}"', count)
        hits.add(f'{model},layer="exact"', row.results[0])
        hits.add(f'{model},layer="stale"', row.results[STALE])
        followers.add(model, row.results[RESULTS.index("follower")])
        if any(row.first_buckets):
            first.add_buckets(f'{model},cached="false"', row.first_buckets, row.first_sum_ms / _MS)
    yield from (calls, lookups, hits, followers, first)
    yield from _failures(rows)


def _failures(rows: list[ModelSeries]) -> Iterator[Family]:
    errors = Family("headgate_errors", "Failed calls by type.", COUNTER)
    refusals = Family("headgate_refusals", "Calls that were refused here, by reason.", COUNTER)
    for row in rows:
        model = labelled(model=row.model)
        errors.add(f'{model},type="caller"', row.mistakes)
        for kind, count in row.errors.items():
            errors.add(f'{model},type="{escaped(kind)}"', count)
        for reason, count in row.refusals.items():
            refusals.add(f'{model},reason="{escaped(reason)}"', count)
    yield from (errors, refusals)


def token_families(rows: list[ModelSeries], sums: dict[str, dict[str, Sum]]) -> Iterator[Family]:
    """Tokens that were billed, and those that were not."""
    tokens = Family("headgate_tokens", "Tokens of upstream answers, each in one class.", COUNTER)
    saved = Family("headgate_tokens_saved", "Tokens that were not asked for again.", COUNTER)
    for row in rows:
        model = labelled(model=row.model)
        plain = max(0, row.tokens_in - row.cached - row.written)
        for kind, count in (("input", plain), ("cache_read", row.cached),
                            ("cache_write", row.written), ("output", row.tokens_out)):  # fmt: skip
            tokens.add(f'{model},type="{kind}"', count)
        spared = Sum()
        for kind, one in sums.get(row.model, {}).items():
            if kind in AVOIDED:
                spared.add(one)
        for kind, count in (("input", spared.plain_input), ("cache_read", spared.cache_read),
                            ("cache_write", spared.cache_write),
                            ("output", spared.output)):  # fmt: skip
            saved.add(f'{model},type="{kind}"', count)
    yield from (tokens, saved)


def money_families(sums: dict[str, dict[str, Sum]]) -> Iterator[Family]:
    """Dollars by the ledger's kinds, and calls that it could not count to the end."""
    cost = Family("headgate_cost_dollars", "What providers bill, by what it was for.", COUNTER)
    saved = Family("headgate_saved_dollars", "What they would have billed besides.", COUNTER)
    unpriced = Family("headgate_unpriced_calls", "Calls whose price nobody knows.", COUNTER)
    estimated = Family("headgate_estimated_usage", "Attempts whose tokens are estimated.", COUNTER)
    for model, kinds in sums.items():
        label = labelled(model=model)
        for kind, one in kinds.items():
            family = cost if kind in BILLED else saved
            family.add(f'{label},kind="{kind}"', one.nanos / _NANOS)
        unpriced.add(label, sum(one.unpriced for one in kinds.values()))
        estimated.add(label, sum(one.estimated for one in kinds.values()))
    yield from (cost, saved, unpriced, estimated)
