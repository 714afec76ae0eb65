"""The batch lane: what goes to a provider, and what is left for the ordinary path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batchlab import (
    KINDS,
    SETTINGS,
    bench,
    body,
    config_at,
    left,
    made,
    operations,
    worked_off,
)

from headgate.jobs.model import Job
from headgate.testing import BatchCourse, FaultServer, Status, marks_in


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=5) as running:
        yield running


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


def test_what_is_never_answered_is_left_for_the_ordinary_path(
    server: FaultServer, tmp_path: Path
) -> None:
    server.batch(BatchCourse(expired_from=0.5), times=None)
    job = left(server, tmp_path, "openai", 8)
    assert job.counts == {"succeeded": 7, "queued": 1}
    assert operations(server)["batches.create"] == SETTINGS.attempts_max


def test_a_batch_api_that_refuses_gets_no_more_and_all_is_left(
    server: FaultServer, tmp_path: Path
) -> None:
    server.script(Status(403), operation="batches.create", times=None)
    job = left(server, tmp_path, "openai", 35, batches_at_once=1)
    assert job.counts == {"queued": 35}
    assert operations(server)["batches.create"] == 1


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
