"""The store of jobs between processes: two that want the same job, one that is stopped and wakes
too late, killed ones, a full disk."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from effort import FULL
from oracle import until
from stores.jobfiles import answered, counted, lines, look, made, started

from headgate.clock import SystemClock
from headgate.jobs.states import QUEUED, SUCCEEDED
from headgate.stores.jobs import JobsFile

CLOCK = SystemClock()
KILLED = 60 if FULL else 6


def test_the_late_write_of_a_stopped_owner_is_fenced_off(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with JobsFile(path, CLOCK) as store:
        job = made(store, lines(3))
        owner = started("hold", path, job.id, "owner", 0.5)
        assert owner.stdin is not None
        assert owner.stdout is not None
        try:
            assert owner.stdout.readline() == "1\n"
            os.kill(owner.pid, signal.SIGSTOP)
            # It will write as soon as it wakes, and cannot know how long it has slept.
            owner.stdin.write("line-1 line-2\n")
            owner.stdin.close()
            until(lambda: job.id in store.claimable(), "the lease runs out by the store's clock")
            lease = store.claim(job.id, "successor", 600.0)
            assert lease is not None
            assert lease.fence == 2
            assert store.settle(lease, [answered("line-1", target="successor")]) == 1
            os.kill(owner.pid, signal.SIGCONT)
            assert owner.stdout.read() == "fenced\nfenced\n"
            assert owner.wait(60) == 0
        finally:
            owner.kill()
            owner.wait(60)
            owner.stdout.close()
        assert [row.settled.target for row in store.results(job.id)] == ["successor"]
        assert counted(path, job) == {SUCCEEDED: 1, QUEUED: 2}
        assert store.settle(lease, [answered("line-2")]) == 1


def test_one_of_two_processes_gets_the_job(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with JobsFile(path, CLOCK) as store:
        job = made(store, lines(40))
        names = " ".join(f"line-{number}" for number in range(1, 41))
        fights = [started("hold", path, job.id, f"worker-{one}", 600) for one in range(2)]
        told = [fight.communicate(names, timeout=60)[0].split() for fight in fights]
        # Who comes second finds the job taken, and ends with an error of its own.
        winners = [fight for fight in fights if fight.returncode == 0]
        assert len(winners) == 1
        assert sorted(told) == [[], ["1"] + ["1"] * 40]
        assert counted(path, job) == {SUCCEEDED: 40}
        assert {row.settled.target for row in store.results(job.id)} < {"worker-0", "worker-1"}


def test_killed_workers_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with JobsFile(path, CLOCK) as store:
        job = made(store, lines(2000))
    acknowledged: set[str] = set()
    for rounds in range(1, KILLED + 1):
        worker = started("settle", path, job.id, 2000)
        assert worker.stdout is not None
        for _ in range(1 + rounds % 6):
            acknowledged |= set(worker.stdout.readline().split())
        worker.kill()
        acknowledged |= set(worker.communicate(timeout=60)[0].split())
        with JobsFile(path, CLOCK) as store:
            done = {row.settled.custom_id for row in store.results(job.id)}
            assert acknowledged <= done
            found = store.job(job.id, None)
            assert found is not None
            assert found.counts == counted(path, job)
            assert found.cost_nanos == 7 * len(done)
        assert look(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_disk_that_is_full_is_told_and_what_was_done_stays(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the kernel refuses the write."""
    path = tmp_path / "jobs.db"
    process = started("full", path, 3_000_000)
    told = json.loads(process.communicate(timeout=120)[0])
    assert process.returncode == 0
    assert told["said"].keys() == {"settle", "file"}
    assert 0 < told["done"] < 2000
    assert told["counts"] == {SUCCEEDED: told["done"], QUEUED: 2000 - told["done"]}
    assert told["results"] == told["done"]
    assert list(path.with_name("jobs.db-files").iterdir()) == []
    assert look(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_job_of_50_000_lines_takes_little_memory(tmp_path: Path) -> None:
    process = started("create", tmp_path / "jobs.db", 50_000)
    told = json.loads(process.communicate(timeout=240)[0])
    assert process.returncode == 0
    assert told["rss_mb"] < 150, "the rest of 300 MB is for who reads the lines"
