"""Latency as log-spaced counters: bounded memory, exact merges, a stated error. Pure.

Bounds are 5 ms x 1.5^(k/10) for integer k from -213 to 333: 0.9 us to 1 h, 2 % apart. A quantile
is reported as the geometric middle of its counter, so it is at most `ERROR` away from the exact
value inside that range. Every tenth bound from 5 ms on is also a Prometheus bucket, so the
buckets of /metrics and the percentiles of the snapshot come from the same integers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import ceil

_FIRST, _LAST = -213, 333
_HALF_STEP: float = 1.5**0.05
ERROR = _HALF_STEP - 1
"""Largest relative error of a quantile between the first and the last bound: 2.05 %."""
BOUNDS_MS: tuple[float, ...] = tuple(5.0 * 1.5 ** (k / 10) for k in range(_FIRST, _LAST + 1))
SIZE = len(BOUNDS_MS) + 1
"""Counters of one histogram: number i counts values in (BOUNDS_MS[i-1], BOUNDS_MS[i]]."""
MIDDLES_MS: tuple[float, ...] = (
    BOUNDS_MS[0], *(bound / _HALF_STEP for bound in BOUNDS_MS[1:]), BOUNDS_MS[-1],
)  # fmt: skip
"""What a value in each counter is reported as: its geometric middle; the two at the ends have none
and read as their bound."""
BLOCK = 16
"""Counters that are also summed up together, so that a quantile is found in two short steps. Of 12,
16, 20, 24 and 32 this one finds three quantiles soonest, in 4 us."""
BUCKETS_MS: tuple[tuple[int, float], ...] = tuple(
    (index, round(bound, 1 if bound < 1000 else 0))
    for index, bound in enumerate(BOUNDS_MS)
    if (index + _FIRST) % 10 == 0 and 0 <= index + _FIRST <= 250
)
"""Counter index and upper bound of the 26 buckets that /metrics shows."""

BUCKETS = len(BUCKETS_MS) + 1
"""Buckets of /metrics, the one without an upper bound too."""
COARSE: tuple[int, ...] = tuple(
    bisect_left([index for index, _ in BUCKETS_MS], index) for index in range(SIZE)
)
"""Which of those buckets each counter belongs to."""


def place(latency_ms: float) -> int:
    """Index of the counter for `latency_ms`; 0.15 us."""
    return bisect_left(BOUNDS_MS, latency_ms)


def block_sums(counts: Sequence[int]) -> list[int]:
    """The sums of each `BLOCK` counters in a row."""
    return [sum(counts[start : start + BLOCK]) for start in range(0, len(counts), BLOCK)]


def quantiles(
    counts: Sequence[int], shares: Sequence[float], blocks: Sequence[int] | None = None
) -> list[float]:
    """The values in ms below which each of `shares` (0..1) of the recorded ones lie.

    Nearest rank: the p50 of [100, 200] is 100. Zeros if nothing was recorded. Values beyond the
    last bound read as that bound. `blocks` are the `block_sums` of `counts`, where they are known:
    then 35 numbers are added up instead of 548.
    """
    sums = block_sums(counts) if blocks is None else blocks
    running = list(accumulate(sums))
    if not running or not running[-1]:
        return [0.0] * len(shares)
    found = []
    for share in shares:
        rank = ceil(share * running[-1]) or 1
        block = bisect_left(running, rank)
        inside = rank - running[block] + sums[block]
        found.append(MIDDLES_MS[_find(counts, block * BLOCK, inside)])
    return found


def _find(counts: Sequence[int], start: int, rank: int) -> int:
    """Index of the counter that holds the value of this rank (from 1), counted from `start` on."""
    for index in range(start, len(counts)):
        rank -= counts[index]
        if rank <= 0:
            return index
    raise ValueError("the rank is beyond the last counter")


def place_coarse(latency_ms: float) -> int:
    """Index of the bucket of /metrics for `latency_ms`."""
    return COARSE[bisect_left(BOUNDS_MS, latency_ms)]


def coarse(counts: Sequence[int]) -> list[int]:
    """Values in each bucket of /metrics, from those in each counter."""
    ends = [index + 1 for index, _ in BUCKETS_MS]
    starts = [0, *ends]
    return [sum(counts[start:end]) for start, end in zip(starts, [*ends, SIZE], strict=True)]


def buckets(counts: Sequence[int]) -> list[tuple[float, int]]:
    """Upper bound in ms and number of values at or below it, for each bucket of /metrics."""
    running = list(accumulate(counts))
    return [(bound, running[index]) for index, bound in BUCKETS_MS]
