"""The batch lane is killed at every point at which it may be, and goes on in another process: what
the provider charges and what we have booked agree, and each item has one end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchlab import bench, body, config_at, judge, killed, made, operations
from effort import FULL

from headgate.clock import SystemClock
from headgate.jobs.model import Job
from headgate.stores.jobs import JobsFile
from headgate.testing import BatchCourse, FaultServer

COUNT = 8
POINTS = ("intent", "create_answered", "batch_stored", "between_polls", "fetched", "parsed:3",
          "before_commit", "after_commit")  # fmt: skip
UPLOADS = ("upload_answered", "file_stored")
# What comes after its batch is known is the same for both.
SAMPLE = POINTS if FULL else ("create_answered", "batch_stored", "parsed:3")
CASES = [("openai", point) for point in (*UPLOADS, *POINTS)] + [
    ("anthropic", point) for point in SAMPLE
]
RESUMED = [(kind, how) for kind in ("openai", "anthropic") for how in ("run", "cancel")]
CANCELS = RESUMED if FULL else [("openai", "run"), ("anthropic", "cancel")]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=5) as running:
        yield running


def a_job(folder: Path, kind: str) -> Job:
    with JobsFile(folder / "jobs.db", SystemClock()) as store:
        return made(store, map(body, range(COUNT)), kind)


def gone_on(server: FaultServer, folder: Path, kind: str, job: Job) -> Job:
    """The job as this process has brought it to its end, judged."""

    async def run() -> Job:
        async with bench(folder, config_at(server, kind)) as desk:
            done = await desk.run(job)
            judge(server, desk, done)
            return done

    return asyncio.run(run())


@pytest.mark.parametrize(("kind", "point"), CASES)
def test_killed_anywhere_nothing_is_lost_and_nothing_is_done_twice(
    server: FaultServer, tmp_path: Path, kind: str, point: str
) -> None:
    job = a_job(tmp_path, kind)
    killed(tmp_path, server, kind, job, point)
    done = gone_on(server, tmp_path, kind, job)
    assert done.counts == {"succeeded": COUNT}
    assert len(server.batch_charges()) == COUNT, "each item was charged once"
    assert done.at_risk_nanos == 0
    made_of = operations(server)
    assert made_of["batches.create"] + made_of["message_batches.create"] == 1


@pytest.mark.parametrize("point", ["parsed:5", "after_commit"] if FULL else ["parsed:5"])
def test_killed_while_it_applies_strange_results_it_comes_to_the_same(
    server: FaultServer, tmp_path: Path, point: str
) -> None:
    server.batch(BatchCourse(missing=(1,), duplicated=(2,), contradicted=(3,), is_permuted=True))
    job = a_job(tmp_path, "openai")
    killed(tmp_path, server, "openai", job, point)
    done = gone_on(server, tmp_path, "openai", job)
    assert done.counts == {"succeeded": COUNT}
    assert len(server.batch_charges()) == COUNT + 1
    assert done.at_risk_nanos > 0


@pytest.mark.parametrize(("kind", "resumed"), CANCELS)
def test_killed_when_a_cancel_was_sent_and_not_written_down(
    server: FaultServer, tmp_path: Path, kind: str, resumed: str
) -> None:
    server.batch(BatchCourse(looks=None, done_at_cancel=0.5))
    job = a_job(tmp_path, kind)
    killed(tmp_path, server, kind, job, "between_polls")
    killed(tmp_path, server, kind, job, "cancel_sent", "cancel")

    async def run() -> Job:
        async with bench(tmp_path, config_at(server, kind)) as desk:
            return await desk.run(job, is_cancelling=True)

    if resumed == "cancel":
        done = asyncio.run(run())
        assert done.counts == {"succeeded": 4, "queued": 4}
        assert len(server.batch_charges()) == 4
    else:
        done = gone_on(server, tmp_path, kind, job)
        assert done.counts == {"succeeded": COUNT}
        assert len(server.batch_charges()) == COUNT
    assert done.at_risk_nanos == 0
