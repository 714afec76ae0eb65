"""Sums of booked rows: served, billed and avoided, by model and by reason. Pure.

Bounded: names that clients invent share a row. Not thread-safe: the caller holds a lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, structs

from headgate.core.booking import ANSWER, AT_RISK, AVOIDED, KINDS, OVERHEAD, Row

MODELS_MAX = 100
"""Models with sums of their own; rows of any further one are added up under `other`."""
OTHER = "other"
_NANOS = 1_000_000_000


class Sum(Struct):
    """Of rows of one kind."""

    calls: int = 0
    tokens: int = 0
    nanos: int = 0
    unpriced: int = 0
    """Calls whose price nobody knows: they add tokens and no money."""
    estimated_nanos: int = 0
    estimated: int = 0
    """Calls whose tokens nobody has counted to the end."""
    plain_input: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def output(self) -> int:
        """Tokens of output; the other three classes are input."""
        return self.tokens - self.plain_input - self.cache_read - self.cache_write

    def add(self, other: Sum) -> None:
        self.calls += other.calls
        self.tokens += other.tokens
        self.nanos += other.nanos
        self.unpriced += other.unpriced
        self.estimated_nanos += other.estimated_nanos
        self.estimated += other.estimated
        self.plain_input += other.plain_input
        self.cache_read += other.cache_read
        self.cache_write += other.cache_write


def sum_of(row: Row) -> Sum:
    """Of one row."""
    nanos, calls, tokens = row.cost_nanos, row.calls, row.tokens
    written = tokens.cache_write + tokens.cache_write_1h
    return Sum(
        calls,
        tokens.input + tokens.cache_read + written + tokens.output,
        nanos or 0,
        calls if nanos is None else 0,
        nanos or 0 if row.is_estimated else 0,
        calls if row.is_estimated else 0,
        tokens.input,
        tokens.cache_read,
        written,
    )


class Totals:
    """Sums by model and kind."""

    def __init__(self, models_max: int = MODELS_MAX) -> None:
        self._models_max = models_max
        self._unlisted = 0
        self._listed: frozenset[str] = frozenset()
        self._sums: dict[str, dict[str, Sum]] = {}

    def reserve(self, models: Iterable[str]) -> None:
        """These models have sums of their own whatever other names are asked for."""
        self._listed |= frozenset(models)

    def add(self, model: str, kind: str, amount: Sum) -> None:
        """Books `amount`."""
        if model not in self._sums and model not in self._listed and model != OTHER:
            if self._unlisted >= self._models_max:
                model = OTHER
            else:
                self._unlisted += 1
        kinds = self._sums.get(model)
        if kinds is None:
            kinds = self._sums[model] = {}
        known = kinds.get(kind)
        if known is None:
            known = kinds[kind] = Sum()
        known.add(amount)

    def by_model(self) -> dict[str, dict[str, Sum]]:
        """By model and kind; neither the tables nor the sums change any more."""
        return {
            model: {kind: structs.replace(one) for kind, one in sums.items()}
            for model, sums in self._sums.items()
        }

    def by_kind(self) -> dict[str, Sum]:
        """Over all models."""
        return _added(sums for sums in self._sums.values())

    def numbers(self) -> dict[str, Any]:
        """The `cost` object: dollars and tokens in total, by reason and by model."""
        by_kind = self.by_kind()
        return {
            **figures(by_kind),
            "by_reason": {
                kind: {"calls": one.calls, "tokens": one.tokens, "usd": one.nanos / _NANOS}
                for kind in KINDS
                if (one := by_kind.get(kind)) is not None
            },
            "by_model": {model: figures(sums) for model, sums in self._sums.items()},
        }


def figures(sums: Mapping[str, Sum]) -> dict[str, Any]:
    """Sums by kind as people read them. Saved is what was avoided less what the cache itself cost,
    and the exact cache costs nothing."""
    answer = sums.get(ANSWER) or Sum()
    overhead = _over(sums, OVERHEAD)
    avoided = _over(sums, AVOIDED)
    at_risk = sums.get(AT_RISK) or Sum()
    everything = _over(sums, frozenset(sums))
    return {
        "served_usd": (answer.nanos + avoided.nanos) / _NANOS,
        "billed_usd": (answer.nanos + overhead.nanos) / _NANOS,
        "saved_usd": avoided.nanos / _NANOS,
        "avoided_usd": avoided.nanos / _NANOS,
        "overhead_usd": overhead.nanos / _NANOS,
        "at_risk_usd": at_risk.nanos / _NANOS,
        "estimated_usd": everything.estimated_nanos / _NANOS,
        "served_tokens": answer.tokens + avoided.tokens,
        "billed_tokens": answer.tokens + overhead.tokens,
        "avoided_tokens": avoided.tokens,
        "overhead_tokens": overhead.tokens,
        "unpriced_calls": everything.unpriced,
    }


def _over(sums: Mapping[str, Sum], kinds: frozenset[str]) -> Sum:
    total = Sum()
    for kind, amount in sums.items():
        if kind in kinds:
            total.add(amount)
    return total


def _added(many: Iterable[Mapping[str, Sum]]) -> dict[str, Sum]:
    total: dict[str, Sum] = {}
    for sums in many:
        for kind, amount in sums.items():
            total.setdefault(kind, Sum()).add(amount)
    return total
