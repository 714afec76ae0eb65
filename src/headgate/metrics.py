"""The numbers of the running process: one bounded row of integers per model, nothing per call.

A hit appends its latency to a queue of at most `FOLD` numbers (one C call, no lock); a full queue
and everything else is added to integers under one short lock. A snapshot takes that lock for one
row at a time. Memory depends on the number of models (those of the configuration and `MODELS_MAX`
more), never on the number of calls. No I/O, no clock: latencies are arguments.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from headgate.core.histogram import BLOCK, BOUNDS_MS, COARSE, SIZE, block_sums, quantiles
from headgate.core.series import HIT_EXACT, STALE, UPSTREAM, ModelSeries
from headgate.core.tally_batches import Batches
from headgate.types import NO_USAGE, Usage

MODELS_MAX = 80
"""Model names with a row of their own besides those of the configuration, which always have one;
calls of any further one are counted under `other`."""
OTHER = "other"
ERRORS_MAX = 20
"""Kinds of errors of one model; any further one is counted under `other`."""
NAMES_MAX_BYTES = 2_400
"""What the names of those may be long, together: whoever invents long ones must not decide how
long /metrics is. Fewer than `MODELS_MAX` have a row where they are longer than 30 bytes each."""
FOLD = 64
"""Latencies of hits that may wait to be counted; folding them takes about 5 us."""

_SHARES = (0.50, 0.95, 0.99)


class _Row(ModelSeries):
    """Counters of one model. All start at 0 at the model's first event."""

    __slots__ = ("blocks", "waiting")

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.blocks = block_sums(self.counts)
        self.waiting: deque[float] = deque()

    def fold(self) -> None:
        """Counts the waiting hits; the caller holds the lock. Others may append meanwhile."""
        if not self.waiting:
            return
        oldest = self.waiting.popleft
        batch = sorted([oldest() for _ in range(len(self.waiting))])
        self.hits += len(batch)
        self.results[HIT_EXACT] += len(batch)
        took_ms = sum(batch)
        self.sum_ms += took_ms
        self.hit_sum_ms += took_ms
        start = 0
        while start < len(batch):
            # One step for each counter in use instead of one for each latency: half the time.
            index = bisect_left(BOUNDS_MS, batch[start])
            end = bisect_right(batch, BOUNDS_MS[index], start) if index < SIZE - 1 else len(batch)
            self.calls += end - start
            self.hit_buckets[COARSE[index]] += end - start
            self.counts[index] += end - start
            self.blocks[index // BLOCK] += end - start
            start = end


class Metrics:
    """Counts calls, tokens, latencies and errors per model. Safe from any thread."""

    def __init__(self, models_max: int = MODELS_MAX, listed: Iterable[str] = ()) -> None:
        """`listed`: models that have a row of their own whatever other names are asked for."""
        self._lock = threading.Lock()
        self._models_max = models_max
        self._listed = frozenset(listed)
        self._unlisted = self._names_bytes = 0
        self.overflows = 0
        """How often something was counted under `other` because there was no row left."""
        self.batches = Batches()
        """Requests that carried the inputs of embeddings calls."""
        self._rows: dict[str, _Row] = {}
        self._waiting: dict[str, deque[float]] = {}

    def reserve(self, models: Iterable[str]) -> None:
        """These models have rows of their own, too, from now on."""
        self._listed |= frozenset(models)

    def record_hit(self, model: str, latency_ms: float) -> None:
        """One call answered by the cache."""
        waiting = self._waiting.get(model)
        if waiting is None:
            with self._lock:
                waiting = self._add(model).waiting
        waiting.append(latency_ms)
        if len(waiting) >= FOLD:
            with self._lock:
                self._add(model).fold()

    def record_call(
        self,
        model: str,
        latency_ms: float,
        usage: Usage = NO_USAGE,
        *,
        miss: bool = True,
        result: int = UPSTREAM,
    ) -> None:
        """One finished call that the cache did not answer; `miss` unless it was not consulted.
        `result` is one of `core.series`; a stale answer that is no miss is a hit."""
        index = bisect_left(BOUNDS_MS, latency_ms)
        with self._lock:
            row = self._rows.get(model) or self._add(model)
            row.calls += 1
            row.counts[index] += 1
            row.blocks[index // BLOCK] += 1
            row.sum_ms += latency_ms
            row.misses += miss
            row.results[result] += 1
            if result == STALE and not miss:
                row.hits += 1
            if usage is not NO_USAGE:
                row.use(usage)

    def record_usage(self, model: str, usage: Usage) -> None:
        """Tokens of one upstream answer whose call is counted by `record_call` without them."""
        with self._lock:
            (self._rows.get(model) or self._add(model)).use(usage)

    def record_first_chunk(self, model: str, latency_ms: float) -> None:
        """When the first content of a stream was here."""
        index = COARSE[bisect_left(BOUNDS_MS, latency_ms)]
        with self._lock:
            row = self._rows.get(model) or self._add(model)
            row.first_buckets[index] += 1
            row.first_sum_ms += latency_ms

    def record_mistake(self, model: str) -> None:
        """One call that its provider refused because the request was wrong: no error of anybody
        but the caller. Does not count a call."""
        with self._lock:
            self._add(model).mistakes += 1

    def record_error(self, model: str, error: str, *, refused: bool = False) -> None:
        """One failure of kind `error` (a short name such as `rate_limit`), or a refusal of ours.
        Does not count a call: whoever finishes a failed call records both."""
        with self._lock:
            row = self._add(model)
            errors = row.refusals if refused else row.errors
            if error not in errors and len(errors) >= ERRORS_MAX:
                error = OTHER
            errors[error] = errors.get(error, 0) + 1

    def known(self, model: str) -> str:
        """`model` if it has a row of its own or will have one in any case, else `other`: what a
        failed call is counted under, as anybody may misspell a name."""
        return model if model in self._rows or model in self._listed else OTHER

    def _add(self, model: str) -> _Row:
        row = self._rows.get(model)
        if row is None and model != OTHER and model not in self._listed:
            names_bytes = self._names_bytes + _shown_bytes(model)
            if self._unlisted >= self._models_max or names_bytes > NAMES_MAX_BYTES:
                model = OTHER
                row = self._rows.get(model)
                self.overflows += 1
            else:
                self._unlisted += 1
                self._names_bytes = names_bytes
        if row is None:
            row = self._rows[model] = _Row(model)
            self._waiting[model] = row.waiting
        return row

    def merge(self, series: ModelSeries) -> None:
        """Adds what another process has counted of one model."""
        with self._lock:
            row = self._add(series.model)
            row.add(series)
            row.blocks = block_sums(row.counts)

    def reset(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._rows.clear()
            self._unlisted = self._names_bytes = self.overflows = 0
            self._waiting.clear()

    def snapshot(self) -> dict[str, Any]:
        """The seed document's schema: totals, hit rate (hits / calls that consulted the cache) and
        per model latencies in ms; percentiles within 2.05 %, the average exact.

        Each model's numbers are of one moment, and the totals are their sums.
        """
        by_model: dict[str, dict[str, Any]] = {}
        errors: dict[str, int] = {}
        for model, row in self._in_turn():
            by_model[model] = _describe(row)
            for kind, count in (*row.errors.items(), *row.refusals.items()):
                # Two names may be spelled alike: model `a`, kind `b:c` and model `a:b`, kind `c`.
                name = f"{model}:{kind}"
                errors[name] = errors.get(name, 0) + count
        hits = sum(row["cache_hits"] for row in by_model.values())
        misses = sum(row["cache_misses"] for row in by_model.values())
        return {
            "total_calls": sum(row["calls"] for row in by_model.values()),
            "total_errors": sum(errors.values()),
            "cache_hits": hits,
            "cache_misses": misses,
            "cache_hit_rate": hits / (hits + misses) if hits + misses else 0.0,
            "by_model": by_model,
            "errors": errors,
        }

    def series(self) -> list[ModelSeries]:
        """The same numbers as /metrics wants them, models in order of their first event."""
        return [row.copy() for _, row in self._in_turn()]

    def _in_turn(self) -> Iterator[tuple[str, _Row]]:
        """Each row under the lock, which is free in between: recording waits some us at most."""
        with self._lock:
            rows = list(self._rows.items())
        for model, row in rows:
            with self._lock:
                row.fold()
                yield model, row


def _shown_bytes(name: str) -> int:
    """What /metrics needs for it, with the backslashes before what is special there."""
    special = name.count("\\") + name.count('"') + name.count("\n")
    return len(name.encode("utf-8", "replace")) + special


def _describe(row: _Row) -> dict[str, Any]:
    p50, p95, p99 = quantiles(row.counts, _SHARES, row.blocks)
    consulted = row.hits + row.misses
    return {
        "calls": row.calls,
        "tokens": row.tokens_in + row.tokens_out,
        "tokens_in": row.tokens_in,
        "tokens_out": row.tokens_out,
        "tokens_cached": row.cached,
        "errors": row.failures,
        "cache_hits": row.hits,
        "cache_misses": row.misses,
        "cache_hit_rate": row.hits / consulted if consulted else 0.0,
        "latency_p50": p50,
        "latency_p95": p95,
        "latency_p99": p99,
        "latency_avg": row.sum_ms / row.calls if row.calls else 0.0,
    }
