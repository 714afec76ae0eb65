"""The store of jobs in one SQLite file: who waits for whom, full disks, one worker after another.

What it promises is asked in contracts/test_job_stores.py; killed and stopped processes stand in
test_jobs_processes.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores.jobfiles import a_job, a_line, answered, counted, counts, leased, lines, made

from headgate.errors import StoreError
from headgate.jobs.model import Line
from headgate.jobs.states import QUEUED, SUCCEEDED
from headgate.stores.jobs import JobsFile
from headgate.testing import FakeClock

PATIENCE_S = 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[JobsFile]:
    with JobsFile(path, FakeClock()) as opened:
        yield opened


def test_two_stores_of_one_file_see_each_other(store: JobsFile, path: Path) -> None:
    clock = FakeClock()
    with JobsFile(path, clock) as other:
        job, lease = leased(store, lines(2))
        assert other.claim(job.id, "other", 30.0) is None
        store.settle(lease, [answered("line-1")])
        assert counts(other, job) == {QUEUED: 1, SUCCEEDED: 1}
        assert len(list(other.results(job.id))) == 1


def test_while_a_job_is_made_others_write(store: JobsFile, path: Path) -> None:
    """Its lines may be read from a slow place: nobody waits for them."""
    job, lease = leased(store, lines(2))

    def slow() -> Iterator[Line]:
        yield a_line(1)
        assert store.settle(lease, [answered("line-1")]) == 1
        with JobsFile(path, FakeClock()) as other:
            made(other, lines(1))
        yield a_line(2)

    late = a_job()
    store.create(late, slow())
    assert counts(store, late) == {QUEUED: 2}
    assert counts(store, job) == {QUEUED: 1, SUCCEEDED: 1}


def test_who_reads_does_not_wait_for_who_writes(store: JobsFile) -> None:
    job, lease = leased(store, lines(2))
    is_writing, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with store._writing():
            is_writing.set()
            may_end.wait(PATIENCE_S)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert is_writing.wait(PATIENCE_S)
        assert store.job(job.id, "acme") is not None
        assert len(store.items(job.id, QUEUED)) == 2
        assert store.claimable() == []
    finally:
        may_end.set()
        thread.join()
    store.release(lease)


def test_a_full_disk_is_told_and_changes_nothing(store: JobsFile, path: Path) -> None:
    # A page limit stands for the disk: SQLite reports both as SQLITE_FULL.
    job, lease = leased(store, lines(3))
    store.settle(lease, [answered("line-1")])
    store._writer.pragma("max_page_count", 1)
    with pytest.raises(StoreError, match="full"):
        store.settle(lease, [answered("line-2", body=b"x" * 1_000_000)])
    assert counts(store, job) == counted(path, job) == {QUEUED: 2, SUCCEEDED: 1}
    assert [row.settled.custom_id for row in store.results(job.id)] == ["line-1"]
    store._writer.pragma("max_page_count", 1_000_000)
    assert store.settle(lease, [answered("line-2", body=b"x" * 1_000_000)]) == 1


def test_a_file_without_a_row_is_not_left_behind(store: JobsFile, path: Path) -> None:
    store._writer.pragma("query_only", True)
    with pytest.raises(StoreError):
        store.add_file("acme", "batch", "a", [b"a"])
    assert list(path.with_name("jobs.db-files").iterdir()) == []


def test_the_wall_clock_judges_leases(path: Path) -> None:
    """All processes of a machine agree on it, those that began before it was set, too."""
    clock = FakeClock()
    with JobsFile(path, clock) as store:
        job, _ = leased(store, lines(1))
        clock.jump_wall(-3600)
        assert store.claim(job.id, "other", 30.0) is None
        clock.jump_wall(2 * 3600)
        assert store.claim(job.id, "other", 30.0) is not None
