"""Results of batches, and everything that may be wrong with them (batching.md, section 5)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batchlab import (
    COUNT,
    KINDS,
    bench,
    body,
    config_at,
    made,
    operations,
    worked_off,
)

from headgate.testing import BatchCourse, FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=5) as running:
        yield running


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_has_ended_without_any_file_is_made_again(
    server: FaultServer, tmp_path: Path, kind: str
) -> None:
    server.batch(BatchCourse(has_files=False))
    job, ended = worked_off(server, tmp_path, kind, 4)
    assert job.counts == {"succeeded": 4}
    assert all(settled.at_risk_nanos == settled.cost_nanos for settled in ended.values())
