"""Which items go together into one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from batchlab import bench, body, config_at, made

from headgate.jobs.asking import Asker
from headgate.jobs.disk import Disk
from headgate.jobs.shard_plan import Drafting, read_lines
from headgate.testing import FaultServer


def drafts(
    folder: Path, bodies: Iterable[dict[str, Any]], shut: tuple[str, ...] = (), **limits: Any
) -> list[tuple[str, list[int]]]:
    """Model and lines of each draft."""

    async def run() -> list[tuple[str, list[int]]]:
        with FaultServer() as server:
            config = config_at(server, **limits)
        async with bench(folder, config) as desk:
            job = made(desk.store, bodies)
            disk = Disk(desk.store)
            stored = desk.store.file(job.input_file_id, None)
            assert stored is not None
            with desk.store.open_file(stored) as file:
                chosen = desk.lane.limits(job.endpoint)
                drafting = Drafting(disk, job, file, Asker(desk.runtime, job), chosen, 3)
                found = [
                    (draft.target.model, [item.line_no for item in draft.items])
                    async for draft in drafting.drafts(shut)
                ]
            disk.close()
            assert drafting.settled == []
            return found

    return asyncio.run(run())


def test_a_draft_has_one_model_and_so_many_items(tmp_path: Path) -> None:
    asked = [body(number, model="ab"[number % 2]) for number in range(7)]
    assert drafts(tmp_path, asked, shard_requests_max=2) == [
        ("a", [1, 3]), ("b", [2, 4]), ("a", [5, 7]), ("b", [6]),
    ]  # fmt: skip


def test_a_draft_has_so_many_bytes_and_what_is_too_large_stays(tmp_path: Path) -> None:
    asked = [body("x" * size) for size in (1000, 1001, 1002, 9000, 10)]
    found = drafts(tmp_path, asked, file_max_bytes=3000)
    assert [lines for _, lines in found] == [[1, 2], [3, 5]]


def test_a_draft_has_so_many_tokens(tmp_path: Path) -> None:
    asked = [body("x" * 1000 + str(number)) for number in range(4)]
    found = drafts(tmp_path, asked, enqueued_tokens_max=700)
    assert [lines for _, lines in found] == [[1, 2], [3, 4]]


def test_who_is_shut_gets_none(tmp_path: Path) -> None:
    assert drafts(tmp_path, [body(1)], shut=("openai",)) == []


@pytest.mark.parametrize(("most", "count"), [(None, 3), (250, 2), (1, 1)])
def test_lines_are_read_until_they_are_too_many(
    tmp_path: Path, most: int | None, count: int
) -> None:
    async def run() -> None:
        with FaultServer() as server:
            config = config_at(server)
        async with bench(tmp_path, config) as desk:
            job = made(desk.store, [body(number) for number in range(3)])
            stored = desk.store.file(job.input_file_id, None)
            assert stored is not None
            items = desk.store.items(job.id, "queued")
            size = items[0].length
            with desk.store.open_file(stored) as file:
                lines = read_lines(file, items, most and (size * 2 if most == 250 else most))
            assert [len(line) for _, line in lines] == [size] * count
            assert all(b'"method": "POST"' in line for _, line in lines)

    asyncio.run(run())
