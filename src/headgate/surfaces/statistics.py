"""The JSON of /api/metrics/llm over all workers: calls and money are added up, the rest (breakers,
stores) is that of the worker that answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.core.tally import BATCH
from headgate.core.tally_batches import numbers_of
from headgate.core.totals import Totals
from headgate.metrics import Metrics
from headgate.stores.numbers import Told
from headgate.surfaces.exposition_models import series_in, sums_in


def over_workers(numbers: Mapping[str, Any], told: Told) -> dict[str, Any]:
    """`numbers` of one worker (`Runtime.stats`) with the calls and the money of all."""
    rows = series_in(told.totals)
    metrics = Metrics(listed=[row.model for row in rows])
    for row in rows:
        metrics.merge(row)
    totals = Totals()
    sums = sums_in(told.totals)
    totals.reserve(sums)
    for model, kinds in sums.items():
        for kind, one in kinds.items():
            totals.add(model, kind, one)
    calls = metrics.snapshot()
    cache = {
        **numbers["cache"],
        "hits": calls["cache_hits"],
        "misses": calls["cache_misses"],
        "hit_rate": calls["cache_hit_rate"],
    }
    batches = numbers_of(counts for name, counts in told.totals.items() if name[0] == BATCH)
    return {**numbers, "cache": cache, "metrics": calls, "batching": batches,
            "cost": totals.numbers(), "workers": len(told.ages_s)}  # fmt: skip
