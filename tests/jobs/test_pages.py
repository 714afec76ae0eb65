"""Pages of the ordinary path: what is noted before lines are asked, and what is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobbing import chat, job_of, line

from headgate.clock import SystemClock
from headgate.config import Config, ProviderConfig
from headgate.errors import StoreError
from headgate.jobs.asking import Asker
from headgate.jobs.disk import Disk
from headgate.jobs.ids import shard_id, submit_token
from headgate.jobs.model import LIVE, Intent, Job, Lease, Settled
from headgate.jobs.pages import PAGE, PAGE_BYTES_MAX, Pages, close_pages, opened
from headgate.jobs.settling import Settling
from headgate.jobs.states import ABANDONED, APPLIED, CREATED, INTENT, SUCCEEDED
from headgate.runtime import Runtime
from headgate.stores.jobs import JobsFile


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobsFile]:
    with JobsFile(tmp_path / "jobs.db", SystemClock()) as found:
        yield found


def made(store: JobsFile, count: int, **more: Any) -> tuple[Job, Lease]:
    job = job_of(store, (line(f"r{n}", chat(n, **more)) for n in range(count)), SystemClock())
    lease = store.claim(job.id, "us", 60.0)
    assert lease is not None
    return job, lease


def noted(store: JobsFile, job: Job, lease: Lease, names: list[str], state: str = CREATED) -> str:
    """A page that somebody has noted."""
    intent = Intent(shard_id(), job.id, LIVE, submit_token(), "m")
    store.intend(lease, intent, names)
    if state == CREATED:
        store.advance(lease, intent.id, CREATED)
    return intent.id


def pages_of(store: JobsFile, count: int, **more: Any) -> list[int]:
    """How many lines each page of a job has."""
    job, lease = made(store, count, **more)

    async def run() -> list[int]:
        async with Runtime(Config(providers={"fake": ProviderConfig(kind="fake")})) as runtime:
            runtime.adopt(asyncio.get_running_loop())
            disk, sizes = Disk(store), []
            with opened(store, job) as file:
                settling = Settling(disk, lease)
                pages = Pages(disk, lease, file, Asker(runtime, job), settling)
                while questions := await pages.more():
                    assert all(b"What of" in question.body for question in questions)
                    sizes.append(len(questions))
                assert pages.is_read
            disk.close()
            return sizes

    return asyncio.run(run())


def test_pages_have_so_many_lines(store: JobsFile) -> None:
    assert pages_of(store, 2 * PAGE + 1) == [PAGE, PAGE, 1]


def test_pages_of_large_lines_have_fewer(store: JobsFile) -> None:
    assert pages_of(store, 5, padding="x" * (PAGE_BYTES_MAX // 2 - 500)) == [2, 2, 1]


def test_a_job_whose_input_is_gone_says_so(store: JobsFile) -> None:
    job, _ = made(store, 1)
    gone = Job(**{**{name: getattr(job, name) for name in job.__struct_fields__},
                  "input_file_id": "file_0"})  # fmt: skip
    with pytest.raises(StoreError, match="file_0 is gone"):
        opened(store, gone)


def test_of_a_process_that_died_every_open_line_may_have_been_asked(store: JobsFile) -> None:
    job, lease = made(store, 6)
    page = noted(store, job, lease, ["r0", "r1", "r2"])
    store.settle(lease, [Settled("r1", SUCCEEDED, 200, b"{}")])
    assert close_pages(store, lease) == {"r0": 1, "r2": 1}
    assert store.job(job.id, None).counts == {"queued": 5, "succeeded": 1}  # type: ignore[union-attr]
    assert [shard.state for shard in store.shards(job.id)] == [APPLIED]
    # It is known later, too, and there is nothing to close any more.
    assert close_pages(store, lease) == {"r0": 1, "r2": 1}
    noted(store, job, lease, ["r2", "r3"])
    # Who was asked by two that died may be billed twice besides the answer.
    assert close_pages(store, lease) == {"r0": 1, "r2": 2, "r3": 1}
    assert store.shards(job.id)[0].id == page


def test_of_a_process_that_left_only_what_was_under_way_may_have_been_asked(
    store: JobsFile,
) -> None:
    job, lease = made(store, 4)
    noted(store, job, lease, ["r0", "r1", "r2"])
    assert close_pages(store, lease, ["r1"]) == {"r1": 1}
    assert store.job(job.id, None).counts == {"queued": 4}  # type: ignore[union-attr]


def test_a_page_that_was_only_intended_has_not_been_asked(store: JobsFile) -> None:
    job, lease = made(store, 2)
    noted(store, job, lease, ["r0", "r1"], INTENT)
    assert close_pages(store, lease) == {}
    assert [shard.state for shard in store.shards(job.id)] == [ABANDONED]
    assert store.job(job.id, None).counts == {"queued": 2}  # type: ignore[union-attr]


def test_batches_at_providers_are_left_alone(store: JobsFile) -> None:
    job, lease = made(store, 1)
    store.intend(lease, Intent("shard_1", job.id, "openai", "token", "m"), ["r0"])
    assert close_pages(store, lease) == {}
    assert [shard.state for shard in store.shards(job.id)] == [INTENT]
