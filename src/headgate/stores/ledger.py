"""The ledger on disk: rows in one SQLite file of its own, shared by every process that opens it.

One thread of a process writes. Rows wait in memory for at most `FLUSH_S` before they are committed,
and a kill costs no more than those; what `flush` has acknowledged is on the disk (`synchronous` is
FULL). Where the disk fails rows wait, up to `SPOOL_MAX`; further ones are lost, and counted.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw

from headgate.clock import Clock
from headgate.errors import StoreError
from headgate.stores import ledger_rows
from headgate.stores.base import Booked
from headgate.stores.ledger_file import LEDGER
from headgate.stores.ledger_rows import DaySum

FLUSH_S = 1.0
"""How long a row may wait to be written."""
SPOOL_MAX = 20_000
"""Rows that may wait while the disk cannot take them."""
_BATCH_MAX = 500
_RETRY_S = 5.0
_PATIENCE_S = 30.0
_PRUNE_EVERY_S = 60.0
_PRUNE_STEP = 1000
_LOG = logging.getLogger(__name__)


def _nothing() -> None:
    """Before anybody has something to append."""


class LedgerFile:
    """A `stores.base.Journal` in the file `path`, whose folder must exist.

    Rows older than `keep_s` go, and so do the oldest of more than `rows_max`; what they add up to
    by day, model and kind stays. Raises ConfigError for a file that is damaged or not ours.
    """

    def __init__(self, path: Path, clock: Clock, keep_s: float, rows_max: int) -> None:
        self.path = Path(os.path.realpath(path))
        self.before_writing: Callable[[], None] = _nothing
        self.lost = 0
        """Rows for which there was no room while the disk failed."""
        self.errors = 0
        """Attempts to write that failed."""
        self._clock = clock
        self._keep_s = keep_s
        self._rows_max = rows_max
        self._changed = threading.Condition()
        self._queue: deque[Booked] = deque()
        self._appended = self._settled = self._attempts = 0
        self._is_urgent = self._is_closing = self._is_failing = False
        self._prune_at_s = clock.monotonic()
        LEDGER.open_checked(self.path).close()
        self._connection: apsw.Connection | None = None
        # A daemon, because the interpreter joins others before `atexit`.
        self._thread = threading.Thread(target=self._run, name="headgate-ledger", daemon=True)
        self._thread.start()

    def append(self, rows: Sequence[Booked]) -> None:
        """Takes rows to be written; never waits for the disk."""
        with self._changed:
            room = SPOOL_MAX - len(self._queue)
            if self._is_closing and not self._thread.is_alive():
                room = 0
            taken = rows[: max(0, room)]
            self.lost += len(rows) - len(taken)
            self._queue.extend(taken)
            self._appended += len(taken)
            if len(self._queue) >= _BATCH_MAX and not self._is_failing:
                self._changed.notify_all()

    def flush(self) -> bool:
        """Whether everything appended before is durable; waits for that, 30 s at most, and no
        longer than one attempt where the disk fails."""
        self.before_writing()
        with self._changed:
            wanted, attempt = self._appended, self._attempts
            self._is_urgent = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._settled >= wanted or self._has_failed_since(attempt), _PATIENCE_S
            )
            return self._settled >= wanted

    def problem(self) -> str:
        """What is wrong just now, for people; "" if nothing is."""
        with self._changed:
            waiting, lost = len(self._queue), self.lost
            if self._is_failing:
                return f"the ledger cannot be written: {waiting} rows wait, {lost} are lost"
        return ""

    def close(self) -> None:
        """Writes what is queued and ends the thread; waits for 30 s at most."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE_S)

    def _has_failed_since(self, attempt: int) -> bool:
        return self._is_failing and self._attempts > attempt

    # The thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                last = self._changed.wait_for(self._is_due, self._pause_s()) and self._is_closing
                self._is_urgent = False
            self.before_writing()
            while self._write_some():
                pass
            if last:
                self._disconnect()
                with self._changed:
                    self.lost += len(self._queue)
                return

    def _is_due(self) -> bool:
        full = len(self._queue) >= _BATCH_MAX and not self._is_failing
        return self._is_urgent or self._is_closing or full

    def _pause_s(self) -> float:
        return _RETRY_S if self._is_failing else FLUSH_S

    def _write_some(self) -> bool:
        """One transaction; whether there is more to be written now. Rows leave the queue when they
        are committed."""
        with self._changed:
            batch = [self._queue[at] for at in range(min(_BATCH_MAX, len(self._queue)))]
        is_pruning = self._clock.monotonic() >= self._prune_at_s
        if not batch and not is_pruning:
            return False
        try:
            more = self._transact(batch, is_pruning=is_pruning)
        except StoreError as problem:
            self._has_failed(problem)
            return False
        self._has_written(len(batch))
        return more or len(batch) == _BATCH_MAX

    def _transact(self, batch: list[Booked], *, is_pruning: bool) -> bool:
        """Whether more is to be pruned. Raises StoreError, with nothing changed."""
        if self._connection is None:
            self._connection = LEDGER.open_again(self.path)
        connection, pruned = self._connection, 0
        try:
            connection.execute("BEGIN IMMEDIATE")
            ledger_rows.insert(connection, batch)
            if is_pruning:
                before_s = self._clock.epoch() - self._keep_s
                pruned = ledger_rows.prune(connection, before_s, self._rows_max, _PRUNE_STEP)
            connection.execute("COMMIT")
        except apsw.Error as problem:
            self._disconnect()
            raise StoreError(f"{self.path}: {problem}") from problem
        if is_pruning and pruned < _PRUNE_STEP:
            self._prune_at_s = self._clock.monotonic() + _PRUNE_EVERY_S
        return pruned == _PRUNE_STEP

    def _has_written(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._queue.popleft()
            self._settled += count
            self._attempts += 1
            self._is_failing = False
            self._changed.notify_all()

    def _has_failed(self, problem: StoreError) -> None:
        with self._changed:
            if not self._is_failing:
                _LOG.warning("rows of the ledger wait, calls go on: %s", problem)
            self._is_failing = True
            self.errors += 1
            self._attempts += 1
            self._changed.notify_all()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)


def read_rows(path: Path, since_s: float, until_s: float) -> Iterator[Booked]:
    """The rows of a ledger, which may be in use, with `since_s` <= time < `until_s`. Raises
    ConfigError where there is none, and StoreError where it breaks off."""
    connection = LEDGER.open_to_read(path)
    try:
        yield from ledger_rows.select(connection, since_s, until_s)
    except apsw.Error as problem:
        raise StoreError(f"{path}: {problem}") from problem
    finally:
        connection.close(True)


def read_sums(path: Path) -> list[DaySum]:
    """What a ledger adds up to, by day, model and kind, rows that are gone included. Raises as
    `read_rows` does."""
    connection = LEDGER.open_to_read(path)
    try:
        return ledger_rows.day_sums(connection)
    except apsw.Error as problem:
        raise StoreError(f"{path}: {problem}") from problem
    finally:
        connection.close(True)
