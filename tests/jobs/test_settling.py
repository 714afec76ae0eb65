"""Answers on their way to the disk: in what order, in how many transactions, and how shards end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest
from jobbing import chat, job_of, line

from headgate.clock import SystemClock
from headgate.errors import StoreError
from headgate.jobs.base import Fenced
from headgate.jobs.disk import Disk
from headgate.jobs.model import LIVE, Intent, Job, Lease, Settled
from headgate.jobs.settling import AT_ONCE, BYTES_MAX, Settling
from headgate.jobs.states import APPLIED, CREATED, SUCCEEDED
from headgate.stores.jobs import JobsFile

LINES = 500


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobsFile]:
    with JobsFile(tmp_path / "jobs.db", SystemClock()) as opened:
        yield opened


@pytest.fixture
def job(store: JobsFile) -> Job:
    return job_of(store, (line(f"r{n}", chat(n)) for n in range(LINES)), SystemClock())


def claimed(store: JobsFile, job: Job, owner: str = "us") -> Lease:
    lease = store.claim(job.id, owner, 60.0)
    assert lease is not None
    return lease


def answer(number: int, body: bytes = b"{}") -> Settled:
    return Settled(f"r{number}", SUCCEEDED, 200, body, cost_nanos=1)


def test_what_is_given_is_written_when_it_is_flushed(store: JobsFile, job: Job) -> None:
    lease = claimed(store, job)

    async def run() -> None:
        disk = Disk(store)
        settling = Settling(disk, lease)
        for number in range(10):
            await settling.give(answer(number))
        assert store.job(job.id, None).counts == {"queued": LINES}  # type: ignore[union-attr]
        await settling.flush()
        disk.close()

    asyncio.run(run())
    found = store.job(job.id, None)
    assert found is not None
    assert (found.counts, found.cost_nanos) == ({"queued": LINES - 10, "succeeded": 10}, 10)


def test_a_writer_beside_writes_without_being_asked_and_nobody_gives_too_much(
    store: JobsFile, job: Job
) -> None:
    lease = claimed(store, job)

    async def run() -> None:
        disk = Disk(store)
        settling = Settling(disk, lease)
        # Nobody writes yet: who gives has to wait when twice a transaction waits.
        async with asyncio.timeout(60):
            for number in range(2 * AT_ONCE):
                await settling.give(answer(number))
        giving = asyncio.ensure_future(settling.give(answer(2 * AT_ONCE)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not giving.done()
        writing = asyncio.ensure_future(settling.write())
        await giving
        await settling.flush()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await asyncio.to_thread(disk.close)

    asyncio.run(run())
    assert store.job(job.id, None).counts["succeeded"] == 2 * AT_ONCE + 1  # type: ignore[union-attr]


def test_large_answers_do_not_wait_for_many(store: JobsFile, job: Job) -> None:
    lease = claimed(store, job)

    async def run() -> None:
        disk = Disk(store)
        settling = Settling(disk, lease)
        for number in range(2):
            await settling.give(answer(number, b"x" * BYTES_MAX))
        giving = asyncio.ensure_future(settling.give(answer(2)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not giving.done()
        await settling.flush()
        await giving
        disk.close()

    asyncio.run(run())


def test_a_shard_is_closed_with_the_last_of_its_lines(store: JobsFile, job: Job) -> None:
    lease = claimed(store, job)
    names = [f"r{number}" for number in range(3)]
    store.intend(lease, Intent("shard_1", job.id, LIVE, "token", "m"), names)
    store.advance(lease, "shard_1", CREATED)

    async def run() -> list[str]:
        disk, states = Disk(store), []
        settling = Settling(disk, lease)
        settling.expect("shard_1", names)
        for number in (0, 2, 1):
            await settling.give(answer(number))
            await settling.flush()
            states.append(store.shards(job.id)[0].state)
        disk.close()
        return states

    assert asyncio.run(run()) == [CREATED, CREATED, APPLIED]


def test_a_lost_lease_ends_the_writer(store: JobsFile, job: Job) -> None:
    lease = claimed(store, job)
    store.release(lease)
    claimed(store, job, "somebody else")

    async def run() -> None:
        disk = Disk(store)
        settling = Settling(disk, lease)
        await settling.give(answer(0))
        with pytest.raises(Fenced):
            await settling.write()
        disk.close()

    asyncio.run(run())
    assert store.job(job.id, None).counts == {"queued": LINES}  # type: ignore[union-attr]


def test_answers_that_could_not_be_written_wait_for_the_next_try(store: JobsFile, job: Job) -> None:
    lease = claimed(store, job)

    async def run() -> None:
        disk = Disk(store)
        settling = Settling(disk, lease)
        await settling.give(answer(1))
        store._writer.set_busy_timeout(1)
        with _locked(store), pytest.raises(StoreError, match="locked"):
            await settling.flush()
        await settling.flush()
        disk.close()

    asyncio.run(run())
    assert store.job(job.id, None).counts["succeeded"] == 1  # type: ignore[union-attr]


@contextmanager
def _locked(store: JobsFile) -> Iterator[None]:
    """Somebody else is in the middle of writing."""
    with closing(apsw.Connection(str(store.path))) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
