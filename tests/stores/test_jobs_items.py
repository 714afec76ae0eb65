"""Items of jobs: bodies that are kept once, names of any kind, and what it takes to settle many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from stores.jobfiles import a_line, answered, leased, lines, look

from headgate.jobs.model import Lease, Settled
from headgate.jobs.states import QUEUED, SUCCEEDED
from headgate.stores.jobs import JobsFile
from headgate.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[JobsFile]:
    with JobsFile(path, FakeClock()) as opened:
        yield opened


def test_equal_bodies_are_kept_once_for_all_jobs(store: JobsFile, path: Path) -> None:
    for tenant in ("acme", "else"):
        job, lease = leased(store, lines(50), tenant=tenant)
        same = [answered(f"line-{number}", body=b"the same " * 500) for number in range(1, 51)]
        store.settle(lease, same)
        assert {row.settled.body for row in store.results(job.id)} == {b"the same " * 500}
    assert look(path, "SELECT count(*), sum(length(content)) FROM body") == [(1, 4500)]


@pytest.mark.parametrize(
    "name", ["x" * 512, "é😀", "a\0b", "' OR 1=1", " ", "\n", "Line-1", "line-1 ", "0", "NULL"]
)
def test_any_text_is_a_name(store: JobsFile, name: str) -> None:
    job, lease = leased(store, [replace(a_line(2), custom_id=name), a_line(1)])
    assert store.settle(lease, [answered(name)]) == 1
    assert [row.settled.custom_id for row in store.results(job.id)] == [name]
    assert [item.custom_id for item in store.items(job.id, QUEUED)] == ["line-1"]


def test_bytes_of_any_kind_come_back(store: JobsFile) -> None:
    job, lease = leased(store, lines(1))
    body = bytes(range(256)) * 4000
    store.settle(lease, [answered("line-1", body=body, error_message="\0 ' é")])
    (row,) = store.results(job.id)
    assert (row.settled.body, row.settled.error_message) == (body, "\0 ' é")


def test_to_end_a_line_takes_as_little_in_a_large_job_as_in_a_small_one(store: JobsFile) -> None:
    """Counted in steps of SQLite's machine, which no busy computer changes: a look through the
    whole job would be tens of thousands of them."""
    steps = {}
    for count in (20, 5000):
        job, lease = leased(store, lines(count))
        items = store.items(job.id, QUEUED, limit=10)
        steps[count] = steps_of(store, lease, [answered(item.custom_id) for item in items])
        assert sum(row.settled.state == SUCCEEDED for row in store.results(job.id)) == 10
    assert steps[5000] < 2 * steps[20]


def steps_of(store: JobsFile, lease: Lease, settled: list[Settled]) -> int:
    taken: list[None] = []
    store._writer.set_progress_handler(lambda: bool(taken.append(None)), 1)
    store.settle(lease, settled)
    store._writer.set_progress_handler(None)
    return len(taken)
