"""The batch lane against every story of a batch that went another way (batching.md, 5 and 6)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batchlab import (
    SETTINGS,
    Bench,
    bench,
    body,
    charged,
    config_at,
    judge,
    made,
    operations,
)

from headgate.jobs.model import Job
from headgate.testing import BatchCourse, CutAt, FaultServer, Status, marks_in

KINDS = ("openai", "anthropic")
COUNT = 12


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=5) as running:
        yield running


def worked_off(
    server: FaultServer, folder: Path, kind: str, count: int = COUNT, **limits: Any
) -> tuple[Job, dict[str, Any]]:
    """A job of so many lines that the lane has worked off to its end, judged by the oracle."""

    async def run() -> tuple[Job, dict[str, Any]]:
        async with bench(folder, config_at(server, kind, **limits)) as desk:
            job = await desk.run(made(desk.store, map(body, range(count)), kind))
            judge(server, desk, job)
            return job, desk.ended(job)

    return asyncio.run(run())


def left(server: FaultServer, folder: Path, kind: str, count: int = COUNT, **more: Any) -> Job:
    """A job of which the lane leaves something queued."""

    async def run() -> Job:
        async with bench(folder, config_at(server, kind, **more)) as desk:
            return await desk.run(made(desk.store, map(body, range(count)), kind))

    return asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_goes_in_batches_and_its_answers_come_back_at_half_the_price(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    job, ended = worked_off(server, tmp_path, kind, 25)
    assert job.counts == {"succeeded": 25}
    assert len({charge.batch_id for charge in server.batch_charges()}) == 3
    assert job.cost_nanos == job.saved_batch_nanos > 0
    assert job.at_risk_nanos == 0
    answer = json.loads(ended["line 7 ä"].body)
    choice = answer["choices"][0]["message"] if kind == "openai" else answer["content"][0]
    assert "What of 6?" in choice["content" if kind == "openai" else "text"]
    assert len(marks_in(ended["line 7 ä"].body)) == 1
    assert {one.lane for one in ended.values()} == {"batch"}
    assert server.bill().requests == 0, "nothing went by the ordinary path"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "course",
    [
        BatchCourse(is_permuted=True),
        BatchCourse(duplicated=(0, 3), is_permuted=True),
        BatchCourse(contradicted=(1, 2)),
        BatchCourse(strangers=3),
        BatchCourse(looks=4, has_counts=False),
    ],
)
def test_oddities_of_the_results_change_nothing(
    server: FaultServer, tmp_path: Path, kind: str, course: BatchCourse
) -> None:
    server.batch(course, times=None)
    job, _ = worked_off(server, tmp_path, kind)
    assert (job.counts, job.at_risk_nanos) == ({"succeeded": COUNT}, 0)
    assert len(server.batch_charges()) == COUNT


def test_what_was_strange_is_written_down(server: FaultServer, tmp_path: Path) -> None:
    server.batch(BatchCourse(contradicted=(1, 2), duplicated=(0,), strangers=3), times=None)

    async def run() -> dict[str, Any]:
        async with bench(tmp_path, config_at(server)) as desk:
            job = await desk.run(made(desk.store, map(body, range(5))))
            return desk.shards(job)[0].detail

    detail = asyncio.run(run())
    assert (detail["strangers"], detail["differences"], detail["again"]) == (3, 2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_lines_are_asked_again_and_may_have_been_billed(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    server.batch(BatchCourse(missing=(1, 4)))
    job, ended = worked_off(server, tmp_path, kind, 8)
    assert job.counts == {"succeeded": 8}
    at_risk = {name for name, settled in ended.items() if settled.at_risk_nanos}
    assert at_risk == {"line 2 ä", "line 5 ä"}
    assert len(server.batch_charges()) == 10


def test_answers_without_a_status_are_asked_again(server: FaultServer, tmp_path: Path) -> None:
    server.batch(BatchCourse(status_0="all"))
    job, ended = worked_off(server, tmp_path, "openai", 8)
    assert job.counts == {"succeeded": 8}
    assert all(settled.at_risk_nanos for settled in ended.values())


@pytest.mark.parametrize("kind", KINDS)
def test_refused_items_fail_with_their_providers_words(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    server.batch(BatchCourse(failed="all"))
    job, ended = worked_off(server, tmp_path, kind, 9)
    assert (job.counts, job.cost_nanos) == ({"failed": 9}, 0)
    settled = ended["line 1 ä"]
    assert settled.status_code == 400
    assert json.loads(settled.body)["error"]["message"]
    assert operations(server)["batches.create"] + operations(server)["message_batches.create"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_expired_part_of_a_batch_is_asked_again_and_the_rest_kept(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    server.batch(BatchCourse(expired_from=0.37))
    job, _ = worked_off(server, tmp_path, kind, 8)
    assert (job.counts, job.at_risk_nanos) == ({"succeeded": 8}, 0)
    assert len(server.batch_charges()) == 8, "what has expired was not billed"


def test_what_is_never_answered_is_left_for_the_ordinary_path(
    server: FaultServer, tmp_path: Path
) -> None:
    server.batch(BatchCourse(expired_from=0.5), times=None)
    job = left(server, tmp_path, "openai", 8)
    assert job.counts == {"succeeded": 7, "queued": 1}
    assert operations(server)["batches.create"] == SETTINGS.attempts_max


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_has_ended_without_any_file_is_made_again(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    server.batch(BatchCourse(has_files=False))
    job, ended = worked_off(server, tmp_path, kind, 4)
    assert job.counts == {"succeeded": 4}
    assert all(settled.at_risk_nanos == settled.cost_nanos for settled in ended.values())


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


def test_a_batch_api_that_refuses_gets_no_more_and_all_is_left(
    server: FaultServer, tmp_path: Path
) -> None:
    server.script(Status(403), operation="batches.create", times=None)
    job = left(server, tmp_path, "openai", 35, batches_at_once=1)
    assert job.counts == {"queued": 35}
    assert operations(server)["batches.create"] == 1


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


def test_other_providers_and_endpoints_stay_on_the_ordinary_path(
    server: FaultServer, tmp_path: Path
) -> None:
    for limits in ({"api": "none"}, {"file_max_bytes": 1024}):
        folder = tmp_path / str(len(limits) + len(str(limits)))
        folder.mkdir()
        lines = [body("x" * 1000)]

        async def run(folder: Path = folder, limits: Any = limits, lines: Any = lines) -> Job:
            async with bench(folder, config_at(server, **limits)) as desk:
                return await desk.run(made(desk.store, lines))

        assert asyncio.run(run()).counts == {"queued": 1}
    assert server.calls == []
