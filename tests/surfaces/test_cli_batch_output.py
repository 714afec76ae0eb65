"""The result file: whole or not there, and never over something else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobbing import chat, job_of, line

from headgate.clock import SystemClock
from headgate.errors import ConfigError, HeadgateError
from headgate.jobs.model import Job, Settled
from headgate.jobs.states import CACHE_HIT, CANCELLED, EXPIRED, FAILED, SUCCEEDED
from headgate.stores.jobs import JobsFile
from headgate.surfaces.cli_batch_output import check, write


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobsFile]:
    with JobsFile(tmp_path / "jobs.db", SystemClock()) as opened:
        yield opened


@pytest.fixture
def job(store: JobsFile) -> Job:
    job = job_of(store, (line(f"r{n}", chat(n)) for n in range(5)), SystemClock())
    lease = store.claim(job.id, "us", 60.0)
    assert lease is not None
    ended = [
        Settled("r4", CANCELLED),
        Settled("r3", EXPIRED),
        Settled("r2", FAILED, error_code="no_luck", error_message="not today"),
        Settled("r1", CACHE_HIT, 200, b'{"a":\n1}'),
        Settled("r0", SUCCEEDED, 200, b'{"b":2}'),
    ]
    store.settle(lease, ended)
    return job


def test_rows_stand_in_the_order_of_the_input(store: JobsFile, job: Job, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write(store, job, out)
    rows = [json.loads(text) for text in out.read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == [f"r{n}" for n in range(5)]
    assert [row["response"] and row["response"]["body"] for row in rows] == [
        {"b": 2}, {"a": 1}, None, None, None,
    ]  # fmt: skip
    codes = [row["error"] and row["error"]["code"] for row in rows]
    assert codes == [None, None, "no_luck", "batch_expired", "batch_cancelled"]
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.jsonl"]


def test_it_is_written_once(store: JobsFile, job: Job, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write(store, job, out)
    before = out.stat()
    write(store, job, out)
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("there", ["", "something else\n", "cut"])
def test_what_is_there_already_stays(store: JobsFile, job: Job, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out.jsonl"
    if there == "cut":
        write(store, job, out)
        there = out.read_text()[:-30]
    out.write_text(there)
    with pytest.raises(HeadgateError, match="is there already"):
        write(store, job, out)
    assert out.read_text() == there
    assert len([*tmp_path.glob("*.part")]) == 0


def test_a_folder_that_is_gone_leaves_nothing(store: JobsFile, job: Job, tmp_path: Path) -> None:
    with pytest.raises(HeadgateError, match=rf"No such file.* batch resume {job.id}"):
        write(store, job, tmp_path / "gone" / "out.jsonl")
    assert sorted(path.name for path in tmp_path.glob("*.part")) == []


def test_a_place_is_checked_without_leaving_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert check(Path("out.jsonl")) == tmp_path / "out.jsonl"
    assert os.listdir(tmp_path) == []
    with pytest.raises(ConfigError, match="--out: "):
        check(Path("/proc/out.jsonl"))


def test_a_name_that_the_folder_does_not_take_is_refused_before_anything_is_paid_for(
    store: JobsFile, job: Job, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"cannot be made in .*name too long"):
        check(tmp_path / ("x" * 256))
    longest = check(tmp_path / ("x" * 255))
    write(store, job, longest)
    assert len(longest.read_bytes().splitlines()) == 5
