"""Rows of jobs: where they go with many of them, and what SQLite does to find them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace
from stores.jobfiles import a_line, counted, counts, leased, look, made

from headgate.jobs.base import Fenced
from headgate.jobs.states import QUEUED
from headgate.stores import jobs_rows, jobs_schema
from headgate.stores.jobs import JobsFile
from headgate.testing import FakeClock


def test_ids_are_told_apart_byte_by_byte(tmp_path: Path) -> None:
    with JobsFile(tmp_path / "jobs.db", FakeClock()) as store:
        job = made(store, [])
        for other in [job.id.upper(), f"{job.id} ", f"{job.id}\0", "", "%", "' OR 1 = 1 --"]:
            assert store.job(other, None) is None
            assert store.job(job.id, other or "x") is None
            assert store.claim(other, "worker", 1.0) is None
            assert store.ask_cancel(other, None) is None


def test_equal_lines_are_found_whatever_their_order(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with JobsFile(path, FakeClock()) as store:
        items = [a_line(number, number % 3) for number in range(1, 31)]
        job = made(store, reversed(items))
        assert [item.line_no for item in store.items(job.id, QUEUED)] == [1, 2, 3]
    found = look(path, "SELECT leader, count(*) FROM item GROUP BY 1 ORDER BY 1")
    assert found == [(0, 3), (1, 9), (2, 9), (3, 9)]


def test_a_job_without_lines_counts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with JobsFile(path, FakeClock()) as store:
        job = made(store, [])
        assert counts(store, job) == counted(path, job) == {}


@pytest.mark.parametrize(
    "changes",
    [{"owner": "other"}, {"owner": ""}, {"fence": 2}, {"fence": 0}, {"job_id": "job_unknown"}],
)
def test_a_fence_is_compared_with_its_owner(tmp_path: Path, changes: dict[str, Any]) -> None:
    with JobsFile(tmp_path / "jobs.db", FakeClock()) as store:
        job, lease = leased(store, [])
        assert lease.fence == 1
        with store._writing() as connection:
            assert jobs_rows.held(connection, lease) == jobs_rows.number_of(connection, job.id)
        with store._writing() as connection, pytest.raises(Fenced):
            jobs_rows.held(connection, replace(lease, **changes))


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        ("SELECT * FROM job WHERE id = ?", "sqlite_autoindex_job_1"),
        ("SELECT * FROM job WHERE tenant = ? AND number < ? ORDER BY number DESC", "job_tenant"),
        (
            "SELECT id FROM job WHERE state NOT IN ('completed', 'failed', 'expired', 'cancelled')"
            " AND (lease_owner = '' OR lease_until_s <= ?) ORDER BY number",
            "job_open",
        ),
    ],
)
def test_rows_are_found_by_an_index(sql: str, index: str) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(jobs_schema.SCHEMA)
    steps = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?")).fetchall()
    connection.close()
    assert index in str(steps)
    assert "TEMP B-TREE" not in str(steps)
