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

from headgate.budgets import Purse
from headgate.clock import SystemClock
from headgate.core.booking import ANSWER, AT_RISK, AVOIDED_BATCH, count
from headgate.core.budget import Budget
from headgate.core.client import KeyRecord, client_of
from headgate.jobs.model import Job, Settled
from headgate.jobs.shard_books import rows_of
from headgate.testing import FaultServer
from headgate.types import Usage


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


def spent(server: FaultServer, folder: Path, day_nanos: int) -> tuple[Job, int]:
    """A job of a client key with this budget, and what was spent of it."""
    purse = Purse(Budget(day_nanos, None), SystemClock(), takes_unpriced=False)
    key = KeyRecord("k1", "k1", "acme", b"", ("*",), 0.0, day_nanos=day_nanos)

    async def run() -> Job:
        async with bench(folder, config_at(server)) as desk:
            desk.lane.client_of = lambda _: client_of(key, purse)
            return await desk.run(made(desk.store, map(body, range(12)), client="k1"))

    job = asyncio.run(run())
    assert purse.held() == 0
    days = {name: nanos for name, nanos in purse.begin_saving().items() if name.count("-") == 2}
    return job, sum(days.values())


def test_what_batches_cost_is_spent_from_the_budget_of_their_key(
    server: FaultServer, tmp_path: Path
) -> None:
    job, nanos = spent(server, tmp_path, 10**12)
    assert job.counts == {"succeeded": 12}
    assert nanos == job.cost_nanos > 0


def test_a_batch_that_a_budget_does_not_cover_is_left_for_the_ordinary_path(
    server: FaultServer, tmp_path: Path
) -> None:
    job, nanos = spent(server, tmp_path, 1000)
    assert (job.counts, nanos) == ({"queued": 12}, 0)
    assert server.calls == []


@pytest.mark.parametrize(("risk", "kinds"), [(0, 2), (7, 3)])
def test_an_answer_is_booked_with_what_was_avoided_and_what_is_at_risk(
    risk: int, kinds: int
) -> None:
    settled = Settled("c", "succeeded", usage=Usage(10, 5), cost_nanos=30, saved_batch_nanos=30,
                      at_risk_nanos=risk, target="openai/m")  # fmt: skip
    rows = rows_of(settled)
    assert [row.kind for row in rows] == [ANSWER, AVOIDED_BATCH, AT_RISK][:kinds]
    assert [row.cost_nanos for row in rows] == [30, 30, 7][:kinds]
    assert count(rows[1].tokens) == 0, "the tokens are the answer's"
    assert all(row.is_estimated == (row.kind == AT_RISK) for row in rows)


def test_an_answer_without_a_price_is_booked_without_one() -> None:
    (row,) = rows_of(Settled("c", "succeeded", usage=Usage(10, 5), cost_nanos=None))
    assert (row.kind, row.cost_nanos) == (ANSWER, None)
