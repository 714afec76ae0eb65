"""What is counted of requests that carry the inputs of embeddings calls. Integers. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

from headgate.core.histogram import BOUNDS_MS, BUCKETS, COARSE

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
"""Upper bounds of the buckets for the number of inputs; there is one more, without."""
_US_PER_S = 1_000_000
MODELS_MAX = 200
OTHER = "other"
_SUMS = 4


class ModelBatches:
    """Of one model."""

    __slots__ = ("calls", "items", "requests", "sizes", "wait_us", "waits")

    def __init__(self) -> None:
        self.requests = self.calls = self.items = 0
        self.wait_us = 0
        self.sizes = [0] * (len(SIZES) + 1)
        """Requests by the number of their inputs."""
        self.waits = [0] * BUCKETS
        """Calls by how long they waited for company, or for their turn."""

    def vector(self) -> list[int]:
        """All of it, always in the same order."""
        return [self.requests, self.calls, self.items, self.wait_us, *self.sizes, *self.waits]


def parts_of(vector: Sequence[int]) -> tuple[list[int], list[int], int, int]:
    """Of a `vector`: buckets of sizes, of waits, the sum of sizes, and that of waits in us."""
    sizes = list(vector[_SUMS : _SUMS + len(SIZES) + 1])
    return sizes, list(vector[_SUMS + len(sizes) :]), vector[2], vector[3]


class Batches:
    """What was sent, by model. Written on one event loop, read from anywhere."""

    def __init__(self) -> None:
        self.models: dict[str, ModelBatches] = {}

    def sent(self, model: str, items: int, waited_s: Sequence[float]) -> None:
        """One request with so many inputs goes upstream; `waited_s` of each call that has one."""
        row = self.models.get(model)
        if row is None:
            model = model if len(self.models) < MODELS_MAX else OTHER
            row = self.models.setdefault(model, ModelBatches())
        row.requests += 1
        row.calls += len(waited_s)
        row.items += items
        row.sizes[bisect_left(SIZES, items)] += 1
        for wait_s in waited_s:
            row.wait_us += round(wait_s * _US_PER_S)
            row.waits[COARSE[bisect_left(BOUNDS_MS, wait_s * 1000)]] += 1

    def numbers(self) -> dict[str, Any]:
        """As `numbers_of`, of this process."""
        return numbers_of(row.vector() for row in list(self.models.values()))


def numbers_of(vectors: Iterable[Sequence[int]]) -> dict[str, Any]:
    """The `batching` object: requests that went upstream, the calls and the inputs in them."""
    sums = [sum(column) for column in zip(*vectors, strict=True)] or [0] * _SUMS
    requests, calls, items, wait_us = sums[:_SUMS]
    return {
        "requests": requests,
        "calls": calls,
        "items": items,
        "items_per_request": items / requests if requests else 0.0,
        "wait_avg_ms": wait_us / 1000 / calls if calls else 0.0,
    }
