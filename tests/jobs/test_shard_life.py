"""One batch from its intent to its end, whatever happens to it on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from batchlab import (
    COUNT,
    KINDS,
    SETTINGS,
    Bench,
    bench,
    body,
    config_at,
    judge,
    left,
    made,
    operations,
    worked_off,
)

from headgate.jobs.model import Job
from headgate.testing import BatchCourse, CutAt, FaultServer, Status


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=5) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_has_vanished_is_made_again_at_a_risk(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    server.batch(BatchCourse(looks=None, vanishes_after=2))
    job, _ = worked_off(server, tmp_path, kind, 4)
    assert job.counts == {"succeeded": 4}
    assert job.at_risk_nanos > 0
    assert len(server.batch_charges()) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_put_off_is_made_when_its_time_has_come(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    create = "batches.create" if kind == "openai" else "message_batches.create"
    server.script(Status(429, headers={"retry-after-ms": "1"}), operation=create, times=3)
    job, _ = worked_off(server, tmp_path, kind, 4)
    assert (job.counts, job.at_risk_nanos) == ({"succeeded": 4}, 0)
    assert operations(server)[create] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_whose_creation_nobody_answered_is_found_and_not_made_again(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    create = "batches.create" if kind == "openai" else "message_batches.create"
    server.script(CutAt(None), operation=create)
    job, _ = worked_off(server, tmp_path, kind, 4)
    assert (job.counts, job.at_risk_nanos) == ({"succeeded": 4}, 0)
    assert operations(server)[create] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_creation_that_failed_on_its_way_is_made_again(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    create = "batches.create" if kind == "openai" else "message_batches.create"
    server.script(Status(500), operation=create)
    job, _ = worked_off(server, tmp_path, kind, 4)
    assert (job.counts, job.at_risk_nanos) == ({"succeeded": 4}, 0)
    assert operations(server)[create] == 2
    assert len(server.batch_charges()) == 4


def test_a_failing_upload_is_repeated(server: FaultServer, tmp_path: Path) -> None:
    server.script(Status(503), operation="files.create", times=2)
    server.script(CutAt(None), operation="files.create")
    job, _ = worked_off(server, tmp_path, "openai", 4)
    assert job.counts == {"succeeded": 4}
    assert operations(server)["files.create"] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_outages_between_looks_and_while_results_come_are_waited_out(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    look, results = (
        ("batches.retrieve", "files.content")
        if kind == "openai"
        else ("message_batches.retrieve", "message_batches.results")
    )
    server.script(Status(502), operation=look, times=9)
    server.script(CutAt(700, by="rst"), operation=results, times=2)
    server.script(Status(529), operation=results)
    job, _ = worked_off(server, tmp_path, kind, 6)
    assert (job.counts, job.at_risk_nanos) == ({"succeeded": 6}, 0)
    assert len(server.batch_charges()) == 6


def test_an_invalid_file_is_left_for_the_ordinary_path(server: FaultServer, tmp_path: Path) -> None:
    server.batch(BatchCourse(invalid="model_not_found"))
    job = left(server, tmp_path, "openai", 4)
    assert job.counts == {"queued": 4}
    assert operations(server)["batches.create"] == 1


def test_a_batch_for_which_there_is_no_room_yet_is_made_again(
    server: FaultServer, tmp_path: Path
) -> None:
    server.batch(BatchCourse(invalid="token_limit_exceeded"))
    job, _ = worked_off(server, tmp_path, "openai", 4)
    assert (job.counts, job.at_risk_nanos) == ({"succeeded": 4}, 0)


def cancelled(
    server: FaultServer, folder: Path, kind: str, course: BatchCourse
) -> tuple[Bench, Job]:
    """A job whose batches never end, until they are cancelled."""
    server.batch(course, times=None)

    async def run() -> tuple[Bench, Job]:
        async with bench(folder, config_at(server, kind)) as desk:
            job = made(desk.store, map(body, range(COUNT)), kind)
            running = asyncio.ensure_future(desk.run(job))
            await _polling(desk, job, 2)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return desk, await desk.run(job, is_cancelling=True)

    return asyncio.run(run())


async def _polling(desk: Bench, job: Job, count: int) -> None:
    """Waits until so many batches are looked at."""
    async with asyncio.timeout(60):
        while [shard.state for shard in desk.shards(job)].count("polling") != count:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_cancelling_keeps_what_was_done_and_queues_the_rest(
    server: FaultServer, tmp_path: Path, kind: str, share: float
) -> None:
    course = BatchCourse(looks=None, cancel_looks=3, done_at_cancel=share)
    _, job = cancelled(server, tmp_path, kind, course)
    done = round(10 * share) + round(2 * share)
    assert job.counts.get("succeeded", 0) == len(server.batch_charges()) == done
    assert job.counts.get("queued", 0) == COUNT - done
    assert job.at_risk_nanos == 0


def test_a_batch_that_does_not_end_though_it_was_cancelled_is_given_up_at_a_risk(
    server: FaultServer, tmp_path: Path
) -> None:
    server.batch(BatchCourse(looks=None, cancel_looks=10**9))

    async def run() -> tuple[Job, list[str]]:
        settings = SETTINGS._replace(cancel_max_s=0.05)
        async with bench(tmp_path, config_at(server), settings) as desk:
            job = made(desk.store, map(body, range(3)))
            running = asyncio.ensure_future(desk.run(job))
            await _polling(desk, job, 1)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await desk.run(job, is_cancelling=True)
            (shard,) = desk.shards(job)
            return desk.job(job), shard.detail["unanswered"]

    job, unanswered = asyncio.run(run())
    assert job.counts == {"queued": 3}
    assert unanswered == ["line 1 ä", "line 2 ä", "line 3 ä"]


def test_a_batch_is_taken_back_when_its_window_is_long_over(
    server: FaultServer, tmp_path: Path
) -> None:
    server.batch(BatchCourse(looks=None))

    async def run() -> Job:
        settings = SETTINGS._replace(overdue_s=-86_400.0)
        async with bench(tmp_path, config_at(server), settings) as desk:
            job = await desk.run(made(desk.store, map(body, range(3))))
            judge(server, desk, job)
            return job

    assert asyncio.run(run()).counts == {"succeeded": 3}
    assert operations(server)["batches.cancel"] >= 1


def test_an_anthropic_batch_of_which_nobody_knows_whose_it_is(
    server: FaultServer, tmp_path: Path
) -> None:
    """Its creation was not answered, and it does not end: sent again, or left for review."""
    for resubmit, counts in ((True, {"succeeded": 4}), (False, {"sharded": 4})):
        server.batch(BatchCourse(looks=None))
        server.script(CutAt(None), operation="message_batches.create")
        folder = tmp_path / str(resubmit)
        folder.mkdir()

        async def run(folder: Path = folder, resubmit: bool = resubmit) -> tuple[Job, list[str]]:
            settings = SETTINGS._replace(confirm_s=0.02)
            async with bench(folder, config_at(server, "anthropic"), settings) as desk:
                lines = map(body, range(4))
                job = await desk.run(made(desk.store, lines, "anthropic", resubmit=resubmit))
                return job, [shard.state for shard in desk.shards(job)]

        job, states = asyncio.run(run())
        assert job.counts == counts
        assert states == (["abandoned", "applied"] if resubmit else ["needs_review"])
        assert (job.at_risk_nanos > 0) == resubmit


def test_who_cancels_a_batch_that_waits_for_review_has_decided(
    server: FaultServer, tmp_path: Path
) -> None:
    """Or a job that nobody can find out about would be cancelling for ever."""
    server.batch(BatchCourse(looks=None))
    server.script(CutAt(None), operation="message_batches.create")

    async def run() -> tuple[Job, list[str]]:
        settings = SETTINGS._replace(confirm_s=0.02)
        async with bench(tmp_path, config_at(server, "anthropic"), settings) as desk:
            job = await desk.run(made(desk.store, map(body, range(4)), "anthropic", resubmit=False))
            assert [shard.state for shard in desk.shards(job)] == ["needs_review"]
            job = await desk.run(job, is_cancelling=True)
            return job, [shard.state for shard in desk.shards(job)]

    job, states = asyncio.run(run())
    assert (job.counts, states) == ({"queued": 4}, ["abandoned"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_brought_to_its_end_although_its_provider_gets_no_more(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    server.batch(BatchCourse(looks=None, cancel_looks=0, done_at_cancel=1.0))

    async def run() -> Job:
        async with bench(tmp_path, config_at(server, kind)) as desk:
            job = made(desk.store, map(body, range(3)), kind)
            running = asyncio.ensure_future(desk.run(job))
            await _polling(desk, job, 1)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        async with bench(tmp_path, config_at(server, kind, api="none")) as desk:
            done = await desk.run(job, is_cancelling=True)
            judge(server, desk, done)
            return done

    assert asyncio.run(run()).counts == {"succeeded": 3}
