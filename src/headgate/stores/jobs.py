"""Durable jobs in one SQLite file: a `jobs.base.JobStore` for all processes of one machine.

One connection writes, one reads, each under a lock of its own: who looks at a job does not wait
for the disk of who writes. What a method has returned from is on the disk (`synchronous` is FULL).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

import apsw

from headgate.clock import Clock
from headgate.errors import ConfigError, Problem, StoreError
from headgate.jobs.base import InUse
from headgate.jobs.ids import file_id as new_file_id
from headgate.jobs.model import (
    NOTHING_LEARNED,
    Intent,
    Item,
    Job,
    Learned,
    Lease,
    Line,
    ResultRow,
    Settled,
    Shard,
    StoredFile,
    Waiting,
)
from headgate.jobs.states import CREATED, QUEUED
from headgate.stores import jobs_items, jobs_rows, jobs_shards, jobs_spool
from headgate.stores.database import closed_on_failure
from headgate.stores.jobs_file import JOBS
from headgate.stores.jobs_spool import STRAY_S, Spool
from headgate.types import Usage

RESULTS_AT_ONCE = 100
"""Rows of results that are in memory at a time."""
_BUSY_MS = 15_000
"""How long a write waits for other processes: one that makes or forgets a job of 50 000 lines takes
up to a second, and several on a machine that has other things to do."""


class JobsFile:
    """The jobs in the file at `path`, and their files in the folder `path` with `-files` added;
    both are made if there are none. The folder of the file must exist. A context manager.

    Leases are judged by the wall clock, on which all processes of a machine agree. Raises
    ConfigError for a file that is damaged or not ours, StoreError where the disk fails later.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = Path(os.path.realpath(path))
        self._clock = clock
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._writer = JOBS.open_checked(self.path)
        self._writer.set_busy_timeout(_BUSY_MS)
        with closed_on_failure(self._writer):
            self._reader = JOBS.open_again(self.path)
        with closed_on_failure(self._writer), closed_on_failure(self._reader):
            self._spool = _spool_beside(self.path)
        self._sweep()

    # Files.

    def add_file(
        self, tenant: str, purpose: str, name: str, content: Iterable[bytes]
    ) -> StoredFile:
        file_id, now_s = new_file_id(), self._clock.wall()
        size_bytes, sha256 = self._spool.write(file_id, content)
        file = StoredFile(file_id, tenant, purpose, name, size_bytes, now_s, sha256)
        try:
            with self._writing() as connection:
                jobs_spool.insert(connection, file)
        except StoreError:
            self._spool.remove(file_id)
            raise
        return file

    def file(self, file_id: str, tenant: str | None) -> StoredFile | None:
        with self._reading() as connection:
            return jobs_spool.find(connection, file_id, tenant)

    def files(self, tenant: str, after: str = "", limit: int = 20) -> list[StoredFile]:
        with self._reading() as connection:
            return jobs_spool.newest(connection, tenant, after, limit)

    def open_file(self, file: StoredFile) -> BinaryIO:
        return self._spool.open(file.id)

    def remove_file(self, file_id: str, tenant: str) -> bool:
        with self._writing() as connection:
            is_gone = jobs_spool.remove(connection, file_id, tenant)
        if is_gone:
            self._spool.remove(file_id)
        return is_gone

    def stored_bytes(self) -> int:
        with self._reading() as connection:
            return jobs_spool.stored_bytes(connection)

    # Jobs.

    def create(self, job: Job, items: Iterable[Line]) -> None:
        """A connection of its own, so that nobody waits while `items` are read."""
        connection = JOBS.open_again(self.path)
        try:
            connection.set_busy_timeout(_BUSY_MS)
            jobs_rows.stage(connection, items)
            with self._write_lock, _transaction(connection):
                number = jobs_rows.insert(connection, job)
                jobs_rows.take_staged(connection, number, QUEUED)
        except apsw.Error as problem:
            raise StoreError(f"{self.path}: {problem}") from problem
        finally:
            connection.close(True)

    def job(self, job_id: str, tenant: str | None) -> Job | None:
        with self._reading() as connection:
            return jobs_rows.find(connection, job_id, tenant)

    def jobs(
        self, tenant: str | None, after: str = "", limit: int = 20, dialect: str = ""
    ) -> list[Job]:
        with self._reading() as connection:
            return jobs_rows.newest(connection, after, limit, dialect, tenant)

    def ask_cancel(self, job_id: str, tenant: str | None) -> Job | None:
        with self._writing() as connection:
            if jobs_rows.find(connection, job_id, tenant) is None:
                return None
            jobs_rows.ask_cancel(connection, job_id, self._clock.wall())
            return jobs_rows.find(connection, job_id, tenant)

    def set_state(self, lease: Lease, state: str) -> None:
        """A job that was asked to cancel is `cancelling` until it ends; an ended one stays."""
        with self._leased(lease) as (connection, job):
            jobs_rows.set_state(connection, job, state, self._clock.wall())

    def usage(self, job_id: str) -> Usage:
        with self._reading() as connection:
            return jobs_items.usage(connection, jobs_rows.number_of(connection, job_id))

    def remove(self, job_id: str, tenant: str) -> bool:
        with self._writing() as connection:
            return jobs_rows.remove(connection, job_id, tenant)

    def forget_old(self, before_s: float, most: int = 500) -> int:
        """Each by itself: nobody waits for the lock of all of them."""
        with self._reading() as connection:
            jobs = jobs_rows.ended_before(connection, before_s, most)
            files = jobs_spool.older_than(connection, before_s, most)
        for job_id, tenant in jobs:
            self.remove(job_id, tenant)
        for file_id, tenant in files:
            with contextlib.suppress(InUse):
                self.remove_file(file_id, tenant)
        return len(jobs) + len(files)

    # Leases.

    def claim(self, job_id: str, owner: str, lease_s: float) -> Lease | None:
        """None for a job that has ended, too. The same owner gets a new lease at any time."""
        with self._writing() as connection:
            return jobs_rows.claim(connection, job_id, owner, self._clock.wall(), lease_s)

    def renew(self, lease: Lease, lease_s: float) -> None:
        with self._leased(lease) as (connection, job):
            jobs_rows.renew(connection, job, self._clock.wall() + lease_s)

    def release(self, lease: Lease) -> None:
        with self._writing() as connection:
            jobs_rows.release(connection, lease)

    def claimable(self) -> list[str]:
        with self._reading() as connection:
            return [job.id for job in jobs_rows.waiting(connection, self._clock.wall())]

    def waiting(self) -> list[Waiting]:
        with self._reading() as connection:
            return jobs_rows.waiting(connection, self._clock.wall())

    # Items.

    def items(self, job_id: str, state: str, after_line: int = 0, limit: int = 1000) -> list[Item]:
        with self._reading() as connection:
            job = jobs_rows.number_of(connection, job_id)
            return jobs_items.find(connection, job, job_id, state, after_line, limit)

    def shard_items(self, shard_id: str) -> list[Item]:
        with self._reading() as connection:
            return jobs_items.of_shard(connection, shard_id)

    def settle(self, lease: Lease, settled: Sequence[Settled]) -> int:
        """Raises StoreError, and changes nothing, for an unknown `custom_id` and for a state that
        may not follow the item's."""
        with self._leased(lease) as (connection, job):
            ended = jobs_items.settle(connection, job, settled)
            jobs_rows.count(connection, job, ended.counts)
            jobs_rows.bill(connection, job, ended.settled)
            return len(ended.settled)

    def requeue(self, lease: Lease, custom_ids: Sequence[str]) -> int:
        with self._leased(lease) as (connection, job):
            counts = jobs_items.requeue(connection, job, custom_ids)
            jobs_rows.count(connection, job, counts)
            return counts[QUEUED]

    def results(self, job_id: str, after_line: int = 0) -> Iterator[ResultRow]:
        while True:
            with self._reading() as connection:
                job = jobs_rows.number_of(connection, job_id)
                rows = jobs_items.results(connection, job, after_line, RESULTS_AT_ONCE)
            yield from rows
            if len(rows) < RESULTS_AT_ONCE:
                return
            after_line = rows[-1].line_no

    # Shards.

    def intend(self, lease: Lease, shard: Intent, custom_ids: Sequence[str]) -> Shard:
        with self._leased(lease) as (connection, job):
            now_s = self._clock.wall()
            made = jobs_shards.insert(connection, job, shard, len(custom_ids), now_s)
            counts = jobs_items.put_into(connection, job, made.number, custom_ids)
            jobs_rows.count(connection, job, counts)
            return made.shard

    def advance(
        self, lease: Lease, shard_id: str, state: str, learned: Learned = NOTHING_LEARNED
    ) -> Shard:
        """The same state once more notes what is learned."""
        with self._leased(lease) as (connection, job):
            standing = jobs_shards.find(connection, job, lease.job_id, shard_id)
            shard = jobs_shards.advance(connection, standing, state, learned)
            if state == CREATED:
                counts = jobs_items.submit(connection, standing.number)
                jobs_rows.count(connection, job, counts)
            return shard

    def shards(self, job_id: str) -> list[Shard]:
        with self._reading() as connection:
            job = jobs_rows.number_of(connection, job_id)
            return jobs_shards.of_job(connection, job, job_id)

    def close(self) -> None:
        """Further calls raise StoreError."""
        with self._write_lock, self._read_lock:
            self._reader.close(True)
            self._writer.close(True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sweep(self) -> None:
        """Removes what crashes have left in the folder of files."""
        for name in self._spool.strays(self._clock.wall() - STRAY_S):
            with self._reading() as connection:
                is_stray = not jobs_spool.has(connection, name)
            if is_stray:
                self._spool.remove(name)

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """Everything in the block sees the same moment."""
        with self._read_lock, self._failures(), _transaction(self._reader, "deferred"):
            yield self._reader

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        """All of the block, or nothing of it."""
        with self._write_lock, self._failures(), _transaction(self._writer):
            yield self._writer

    @contextmanager
    def _leased(self, lease: Lease) -> Iterator[tuple[apsw.Connection, int]]:
        """`_writing`, and the number of the job. Raises Fenced where the lease is lost."""
        with self._writing() as connection:
            yield connection, jobs_rows.held(connection, lease)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as problem:
            raise StoreError(f"{self.path}: {problem}") from problem


def _spool_beside(path: Path) -> Spool:
    try:
        return Spool(path.with_name(f"{path.name}-files"))
    except OSError as problem:
        raise ConfigError([Problem(JOBS.key, f"{path}-files: {problem.strerror}")]) from problem


@contextmanager
def _transaction(connection: apsw.Connection, kind: str = "immediate") -> Iterator[None]:
    if kind == "immediate":
        connection.execute("BEGIN IMMEDIATE")
    else:
        connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
