"""Which jobs go to batches, and how they are taken back: the runner over both lanes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchlab import bench, body, config_at, judge, made

from headgate.clock import SystemClock
from headgate.jobs.choosing import batches_of
from headgate.jobs.disk import Disk
from headgate.jobs.model import BATCH, LIVE, Job
from headgate.jobs.runner import Runner, RunnerSettings
from headgate.testing import BatchCourse, FakeClock, FaultServer

COUNT = 8


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=5) as running:
        yield running


def test_a_job_goes_to_a_batch_where_one_provider_takes_it_in_time(
    server: FaultServer, tmp_path: Path
) -> None:
    async def run(**limits: str) -> list[str]:
        async with bench(tmp_path, config_at(server, **limits)) as desk:
            disk, clock = Disk(desk.store), SystemClock()
            batches = batches_of(desk.runtime, disk, clock, 4)
            jobs = [made(desk.store, [body(1)], lane=lane) for lane in ("auto", BATCH, LIVE)]
            disk.close()
            late_s = jobs[0].deadline_s - 60
            assert batches.choose(jobs[0], late_s) == LIVE
            assert batches.rescue_s(jobs[0]) < jobs[0].deadline_s
            return [batches.choose(job, clock.wall()) for job in jobs]

    assert asyncio.run(run()) == [BATCH, BATCH, LIVE]
    assert asyncio.run(run(api="none")) == [LIVE, LIVE, LIVE]


def test_what_a_batch_has_not_done_in_time_is_asked_on_the_ordinary_path(
    server: FaultServer, tmp_path: Path
) -> None:
    server.batch(BatchCourse(looks=None, done_at_cancel=0.5))

    async def run() -> tuple[Job, Counter[str]]:
        clock = FakeClock()
        async with bench(tmp_path, config_at(server), lane_clock=clock) as desk:
            job = made(desk.store, map(body, range(COUNT)), now_s=clock.wall())
            runner = Runner(desk.runtime, desk.store, clock, RunnerSettings())
            running = asyncio.ensure_future(runner.run(job.id))
            async with asyncio.timeout(60):
                while "polling" not in [shard.state for shard in desk.shards(job)]:
                    await asyncio.sleep(0.005)
                clock.advance(86_400.0 - 300.0)
                done = await running
            runner.close()
            assert done is not None
            return done, Counter(one.lane for one in desk.ended(job).values())

    done, lanes = asyncio.run(run())
    assert (done.state, done.counts) == ("completed", {"succeeded": COUNT})
    assert lanes == {"batch": COUNT // 2, "live": COUNT // 2}
    assert len(server.batch_charges()) == server.bill().requests == COUNT // 2
    assert done.at_risk_nanos == 0


def test_what_a_lost_batch_may_have_cost_is_at_risk_on_the_ordinary_path_too(
    server: FaultServer, tmp_path: Path
) -> None:
    server.batch(BatchCourse(has_files=False), times=None)

    async def run() -> Job:
        async with bench(tmp_path, config_at(server)) as desk:
            job = made(desk.store, map(body, range(2)))
            runner = Runner(desk.runtime, desk.store, SystemClock(), RunnerSettings())
            done = await runner.run(job.id)
            runner.close()
            assert done is not None
            return done

    done = asyncio.run(run())
    assert done.counts == {"succeeded": 2}
    assert done.at_risk_nanos > 0
    assert len(server.batch_charges()) == 6, "three times each"


def test_a_runner_brings_a_job_to_its_end_through_a_batch(
    server: FaultServer, tmp_path: Path
) -> None:
    async def run() -> None:
        async with bench(tmp_path, config_at(server)) as desk:
            job = made(desk.store, map(body, range(COUNT)))
            runner = Runner(desk.runtime, desk.store, SystemClock(), RunnerSettings())
            done = await runner.run(job.id)
            runner.close()
            assert done is not None
            assert done.state == "completed"
            judge(server, desk, done)

    asyncio.run(run())
