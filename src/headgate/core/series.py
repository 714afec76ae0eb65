"""What is counted of one model, in integers that can be added up over processes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.histogram import BUCKETS, SIZE, buckets
from headgate.types import Usage

RESULTS = ("hit_exact", "hit_stale", "follower", "upstream", "failed", "refused", "cancelled")
"""How a call may end; every call ends in exactly one of these ways."""
HIT_EXACT, STALE, FOLLOWER, UPSTREAM, FAILED, REFUSED, CANCELLED = range(len(RESULTS))

_SUMS = ("calls", "hits", "misses", "mistakes", "tokens_in", "tokens_out", "cached", "written")
_LATENCIES = ("sum_ms", "hit_sum_ms", "first_sum_ms")
_LISTS = (("results", len(RESULTS)), ("hit_buckets", BUCKETS), ("first_buckets", BUCKETS),
          ("counts", SIZE))  # fmt: skip
_US_PER_MS = 1000


class ModelSeries:
    """The numbers of one model. Tokens are those of upstream answers: hits add none."""

    __slots__ = ("cached", "calls", "counts", "errors", "first_buckets", "first_sum_ms",
                 "hit_buckets", "hit_sum_ms", "hits", "misses", "mistakes", "model", "refusals",
                 "results", "sum_ms", "tokens_in", "tokens_out", "written")  # fmt: skip

    def __init__(self, model: str) -> None:
        self.model = model
        self.calls = self.hits = self.misses = self.mistakes = 0
        self.tokens_in = self.tokens_out = self.cached = self.written = 0
        self.sum_ms = self.hit_sum_ms = self.first_sum_ms = 0.0
        self.results = [0] * len(RESULTS)
        self.hit_buckets = [0] * BUCKETS
        self.first_buckets = [0] * BUCKETS
        self.counts = [0] * SIZE
        self.errors: dict[str, int] = {}
        self.refusals: dict[str, int] = {}

    def use(self, usage: Usage) -> None:
        """Adds the tokens of one answer."""
        self.tokens_in += usage.tokens_in
        self.tokens_out += usage.tokens_out
        self.cached += usage.tokens_cached
        self.written += usage.tokens_cache_write

    @property
    def failures(self) -> int:
        """Failed and refused calls, without the callers' own mistakes."""
        return sum(self.errors.values()) + sum(self.refusals.values())

    @property
    def latency_buckets(self) -> list[tuple[float, int]]:
        """Upper bounds in ms, and calls at or below each."""
        return buckets(self.counts)

    def vector(self) -> list[int]:
        """Everything but the names of failures, always in the same order; latencies in us."""
        whole = [getattr(self, name) for name in _SUMS]
        whole += [round(getattr(self, name) * _US_PER_MS) for name in _LATENCIES]
        for name, _ in _LISTS:
            whole += getattr(self, name)
        return whole

    @classmethod
    def of(cls, model: str, vector: Sequence[int]) -> ModelSeries:
        """The numbers in a `vector`."""
        series, at = cls(model), len(_SUMS) + len(_LATENCIES)
        for name, number in zip(_SUMS, vector, strict=False):
            setattr(series, name, number)
        for name, number in zip(_LATENCIES, vector[len(_SUMS) :], strict=False):
            setattr(series, name, number / _US_PER_MS)
        for name, size in _LISTS:
            setattr(series, name, list(vector[at : at + size]))
            at += size
        return series

    def add(self, other: ModelSeries) -> None:
        """Adds what another one has counted."""
        for name in (*_SUMS, *_LATENCIES):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, _ in _LISTS:
            both = zip(getattr(self, name), getattr(other, name), strict=True)
            setattr(self, name, [mine + theirs for mine, theirs in both])
        for mine, theirs in ((self.errors, other.errors), (self.refusals, other.refusals)):
            for kind, count in theirs.items():
                mine[kind] = mine.get(kind, 0) + count

    def copy(self) -> ModelSeries:
        """One that does not change any more."""
        copied = ModelSeries(self.model)
        for name in (*_SUMS, *_LATENCIES):
            setattr(copied, name, getattr(self, name))
        for name, _ in _LISTS:
            setattr(copied, name, list(getattr(self, name)))
        copied.errors, copied.refusals = dict(self.errors), dict(self.refusals)
        return copied
