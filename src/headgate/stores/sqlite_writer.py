"""The one thread of a process that writes to the disk tier, and the queue in front of it.

Jobs are done in the order they were given, up to 50 in one transaction (measured: half the cost per
row). What waits here is already readable through `pending`. A job that fails is counted and
forgotten, except a removal: it hides what it should have removed until it succeeds.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

import apsw
import msgspec
from msgspec import Struct

from headgate.clock import Clock
from headgate.errors import StoreError
from headgate.stores import sqlite_rows
from headgate.stores.sqlite_file import RETRY_AFTER_S, DatabaseFile, FileSetAside
from headgate.stores.sqlite_rows import Changes
from headgate.types import EVERYTHING, Entry, Selection

BATCH_MAX = 50
QUEUE_MAX = 2000
QUEUE_BYTES_MAX = 64_000_000
CLEAN_EVERY_S = 60.0

_IDLE_S = 5.0
_PATIENCE_S = 30.0
_TOUCHES_MAX = 10_000
_CLEAN_STEP = 1000
_UNREMOVED_MAX = 100
_LOG = logging.getLogger(__name__)


class Tally:
    """Counters of one store, changed from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(
            ("hits", "misses", "evictions", "expirations", "integrity_failures", "errors"), 0
        )

    def add(self, counter: str, count: int = 1) -> None:
        with self._lock:
            self._counts[counter] += count

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


class _Put(Struct, frozen=True):
    entry: Entry
    now_s: float


class _Forget(Struct, frozen=True):
    """A row that did not verify; a good one put since stays."""

    key: bytes
    row: object


class _Expire(Struct, frozen=True):
    key: bytes
    now_s: float


class _Removal(Struct, eq=False):
    selection: Selection
    now_s: float
    done: threading.Event
    count: int = 0


class _Barrier(Struct, frozen=True):
    done: threading.Event


_Job = _Put | _Forget | _Expire | _Removal | _Barrier


class Writer:
    """Writes to `file` and keeps the sum of its rows at or below `max_bytes`.

    The thread starts with the first job and holds no reference to the store, so a forgotten store
    is collected. `tally` is told what happened once it is committed.
    """

    def __init__(
        self,
        file: DatabaseFile,
        max_bytes: int,
        clock: Clock,
        tally: Tally,
        keep_stale_s: float = 0.0,
    ) -> None:
        self._file = file
        self._keep_stale_s = keep_stale_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._tally = tally
        self._changed = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._queued_bytes = 0
        self._pending: dict[bytes, Entry] = {}
        self._touches: dict[bytes, float] = {}
        self._unremoved: list[_Removal] = []
        self._thread: threading.Thread | None = None
        self._closing = False
        self._off_until_s: float | None = None
        self._clean_at_s = clock.monotonic() + CLEAN_EVERY_S

    def put(self, entry: Entry, now_s: float) -> None:
        """Queues `entry`; drops it, and counts an error, where the queue is full or writes are off.
        One that cannot be kept (too large, past its time, kind "object") takes the place of its
        predecessor all the same: it removes it."""
        with self._changed:
            if self._closing:
                return
            full = len(self._queue) >= QUEUE_MAX or self._queued_bytes > QUEUE_BYTES_MAX
            if full or self._is_off():
                self._tally.add("errors")
                return
            self._pending[entry.key] = entry
            self._queued_bytes += entry.size_bytes
            self._enqueue(_Put(entry, now_s))

    def pending(self, key: bytes) -> Entry | None:
        """The entry of `key` that is not written yet."""
        return self._pending.get(key)

    def touch(self, key: bytes, now_s: float) -> None:
        """Notes that `key` was used; written along with the next rows, or within seconds."""
        with self._changed:
            if len(self._touches) < _TOUCHES_MAX:
                self._touches[key] = now_s
                self._ensure_thread()

    def forget(self, key: bytes, row: object) -> None:
        """Removes a row that did not verify, if it still is that row."""
        self._when_room(_Forget(key, row))

    def expire(self, key: bytes, now_s: float) -> None:
        """Removes the row of `key` if its time had passed at `now_s`."""
        self._when_room(_Expire(key, now_s))

    def remove(self, selection: Selection, now_s: float) -> int:
        """Removes what matches among everything put before, written or not; returns how many.

        Where the file cannot be changed, matching rows stay hidden until it can: see `hides`.
        """
        removal = _Removal(selection, now_s, threading.Event())
        if not self._wait_for(removal):
            self._tally.add("errors")
            self._hide(removal)
            return 0
        return removal.count

    def hides(self, entry: Entry) -> bool:
        """Whether a removal that is still to be carried out covers `entry`."""
        return bool(self._unremoved) and any(
            entry.created_s <= removal.now_s and removal.selection.matches(entry, removal.now_s)
            for removal in self._unremoved
        )

    def flush(self) -> None:
        """Waits, for 30 s at most, until everything given before is committed or dropped."""
        if not self._wait_for(_Barrier(threading.Event())):
            self._tally.add("errors")

    def close(self) -> None:
        """Writes what is queued and ends the thread; waits for 30 s at most."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_PATIENCE_S)

    # The queue. Callers of the methods with `_changed` in their comment hold it.

    def _enqueue(self, job: _Job) -> None:
        """Holds `_changed`."""
        if not self._closing:
            self._queue.append(job)
            self._ensure_thread()
            self._changed.notify_all()

    def _ensure_thread(self) -> None:
        """Holds `_changed`. A daemon, because the interpreter joins others before `atexit`."""
        if self._closing or (self._thread is not None and self._thread.is_alive()):
            return
        thread = threading.Thread(target=self._run, name="headgate-disk", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No thread to be had now: the next job tries again.
            return
        self._thread = thread

    def _when_room(self, job: _Job) -> None:
        with self._changed:
            if len(self._queue) < QUEUE_MAX:
                self._enqueue(job)

    def _wait_for(self, job: _Removal | _Barrier) -> bool:
        with self._changed:
            if self._closing:
                return isinstance(job, _Barrier)
            self._enqueue(job)
        return job.done.wait(_PATIENCE_S)

    @property
    def is_failing(self) -> bool:
        """Whether the last thing it tried to write could not be written."""
        return self._off_until_s is not None

    def _is_off(self) -> bool:
        return self._off_until_s is not None and self._clock.monotonic() < self._off_until_s

    # The thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._queue and not self._closing:
                    self._changed.wait(_IDLE_S)
                jobs = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
                touches, self._touches = self._touches, {}
                last = self._closing and not self._queue
            self._work(jobs, touches)
            if last:
                return

    def _work(self, jobs: list[_Job], touches: dict[bytes, float]) -> None:
        writes = any(not isinstance(job, _Barrier) for job in jobs)
        due = bool(touches or self._unremoved) or self._clock.monotonic() >= self._clean_at_s
        try:
            if writes or due:
                self._write(jobs, touches)
        finally:
            self._settle(jobs)

    def _write(self, jobs: list[_Job], touches: dict[bytes, float]) -> None:
        removals = [job for job in jobs if isinstance(job, _Removal)]
        if self._is_off():
            failed: StoreError | None = StoreError("writes are off")
        else:
            failed = self._attempt(jobs, touches)
        if failed is None:
            self._off_until_s = None
            return
        self._tally.add("errors", sum(isinstance(job, _Put) for job in jobs))
        for removal in removals:
            # Alone it may succeed: removing needs less room than writing.
            if self._attempt([removal], {}) is not None:
                self._tally.add("errors")
                self._hide(removal)

    def _attempt(self, jobs: Sequence[_Job], touches: dict[bytes, float]) -> StoreError | None:
        """Writes it all in one transaction, or nothing and turns writes off for a while."""
        try:
            try:
                self._transact(jobs, touches)
            except FileSetAside:
                self._tally.add("errors")
                self._transact(jobs, touches)
        except StoreError as problem:
            if self._off_until_s is None:
                _LOG.warning("writes to the disk tier are off, reads go on: %s", problem)
            self._off_until_s = self._clock.monotonic() + RETRY_AFTER_S
            return problem
        return None

    def _transact(self, jobs: Sequence[_Job], touches: dict[bytes, float]) -> None:
        changes = Changes()
        overdue = self._unremoved
        now_s = self._clock.epoch()
        cleaning = self._clock.monotonic() >= self._clean_at_s
        with self._file.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for job in (*overdue, *jobs):
                self._apply(connection, job, changes)
            sqlite_rows.touch(connection, touches)
            if cleaning:
                cleaned = sqlite_rows.clean(connection, now_s, _CLEAN_STEP)
                changes.expirations += cleaned
                cleaning = cleaned < _CLEAN_STEP
            sqlite_rows.evict(connection, now_s, self._max_bytes, changes)
            connection.execute("COMMIT")
        with self._changed:
            self._unremoved = [left for left in self._unremoved if left not in overdue]
        if cleaning:
            self._clean_at_s = self._clock.monotonic() + CLEAN_EVERY_S
        for counter, count in msgspec.structs.asdict(changes).items():
            self._tally.add(counter, count)

    def _apply(self, connection: apsw.Connection, job: _Job, changes: Changes) -> None:
        match job:
            case _Put(entry, now_s):
                changes.errors += sqlite_rows.put(
                    connection, entry, now_s, self._max_bytes, self._keep_stale_s
                )
            case _Forget(key, row):
                sqlite_rows.forget(connection, key, row)
            case _Expire(key, now_s):
                changes.expirations += sqlite_rows.expire(connection, key, now_s)
            case _Removal(selection, now_s):
                job.count = sqlite_rows.remove(connection, selection, now_s)

    def _hide(self, removal: _Removal) -> None:
        """Keeps in mind what could not be removed; too many of them become one that hides all."""
        with self._changed:
            hidden = [*self._unremoved, removal]
            if len(hidden) > _UNREMOVED_MAX:
                hidden = [_Removal(EVERYTHING, removal.now_s, removal.done)]
            self._unremoved = hidden

    def _settle(self, jobs: Sequence[_Job]) -> None:
        """Whatever came of them: what waits for these jobs goes on, what was queued is no longer
        pending."""
        puts = [job.entry for job in jobs if isinstance(job, _Put)]
        with self._changed:
            self._queued_bytes -= sum(entry.size_bytes for entry in puts)
            for entry in puts:
                if self._pending.get(entry.key) is entry:
                    del self._pending[entry.key]
        for job in jobs:
            if isinstance(job, _Removal | _Barrier):
                job.done.set()
