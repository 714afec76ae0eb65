"""What answers of a batch are booked as, and where they are kept besides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batchlab import (
    bench,
    body,
    charged,
    config_at,
    made,
)

from headgate.jobs.model import Job
from headgate.testing import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=5) as running:
        yield running


def test_stored_answers_never_go_into_a_batch_and_its_answers_are_stored(
    server: FaultServer, tmp_path: Path
) -> None:
    async def run() -> tuple[Job, Job, dict[str, Any]]:
        async with bench(tmp_path, config_at(server)) as desk:
            first = await desk.run(made(desk.store, map(body, range(3))))
            again = await desk.run(made(desk.store, map(body, range(5))))
            return first, again, desk.runtime.stats()["cost"]

    first, again, cost = asyncio.run(run())
    assert first.counts == {"succeeded": 3}
    assert again.counts == {"cache_hit": 3, "succeeded": 2}
    assert again.saved_cache_nanos == 2 * first.cost_nanos
    assert len(charged(server)) == 5
    # The sums of this process: what was served is what was billed and what was avoided.
    by_reason = cost["by_reason"]
    nanos = first.cost_nanos + again.cost_nanos
    assert by_reason["answer"]["usd"] == pytest.approx(nanos / 1e9)
    discount = {"calls": 5, "tokens": 0, "usd": pytest.approx(nanos / 1e9)}
    assert by_reason["avoided_batch"] == discount
    assert cost["served_usd"] == pytest.approx(cost["billed_usd"] + cost["saved_usd"])
