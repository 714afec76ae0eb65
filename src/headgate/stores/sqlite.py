"""The disk tier: entries in one SQLite file, shared by every process that opens it.

Reads happen in the caller's thread, writes in one thread per process (`sqlite_writer`). Nothing
here raises: a file that cannot be read is a miss, one that cannot be written drops the entry, one
that is broken is set aside (`sqlite_file`). Nothing read is trusted: `codec` verifies every row.
"""

from __future__ import annotations

import builtins
import os
import threading
import weakref
from pathlib import Path

from headgate.clock import Clock
from headgate.errors import StoreError
from headgate.stores import sqlite_rows
from headgate.stores.base import StoreStats
from headgate.stores.codec import CodecError, decode
from headgate.stores.sqlite_file import DatabaseFile
from headgate.stores.sqlite_writer import Tally, Writer
from headgate.types import EVERYTHING, Entry, Selection

TOUCH_AFTER_S = 10.0
"""A row used again within this time keeps its stamp: a hot entry costs no write per hit."""
FUTURE_MAX_S = 300.0
"""A row stamped further ahead than this is a miss: one of the two clocks is wrong."""


class SqliteStore:
    """A `stores.base.Store` in the file `path`, whose folder must exist.

    `max_bytes` bounds the sum of the encoded rows; the file is larger (pages, index, write-ahead
    log) and does not shrink. Several processes may use one file; each applies its own bound. After
    a `fork` the child opens the file anew.

    `keep_stale_s`: how long past its time an entry stays for who accepts a stale one.

    A row read again within 10 s does not move up in the order of use. What waits for the writer
    (at most 2000 jobs) is found by `get` at once; it is lost when the process is killed.
    """

    blocking = True

    def __init__(self, path: Path, max_bytes: int, clock: Clock, keep_stale_s: float = 0.0) -> None:
        self._max_bytes = max_bytes
        self._keep_stale_s = keep_stale_s
        self._clock = clock
        self._fork_lock = threading.Lock()
        self._abandoned: builtins.list[_Engine] = []
        self._closed = False
        self._engine = _Engine(Path(os.path.realpath(path)), max_bytes, clock, keep_stale_s)
        self._finalizer = weakref.finalize(self, _shut, self._engine)
        self._engine.attempt_open()

    def get(self, key: bytes, scope: bytes, now_s: float, stale_s: float = 0.0) -> Entry | None:
        if self._closed:
            return None
        engine = self._own()
        entry = engine.writer.pending(key)
        if entry is None:
            entry = engine.read(key, scope, now_s)
        elif entry.scope != scope or entry.kind == "object":
            entry = None
        elif now_s - entry.created_s >= TOUCH_AFTER_S:
            engine.writer.touch(key, now_s)
        if entry is not None and not _is_current(entry, now_s, stale_s):
            entry = None
        engine.tally.add("misses" if entry is None else "hits")
        return entry

    def put(self, entry: Entry, now_s: float) -> None:
        if not self._closed:
            self._own().writer.put(entry, now_s)

    def remove(
        self, selection: Selection = EVERYTHING, *, now_s: float, dry_run: bool = False
    ) -> int:
        if self._closed:
            return 0
        engine = self._own()
        if not dry_run:
            return engine.writer.remove(selection, now_s)
        engine.writer.flush()
        return engine.count(selection, now_s)

    def list(
        self, selection: Selection = EVERYTHING, *, now_s: float, limit: int
    ) -> builtins.list[Entry]:
        if self._closed or limit <= 0:
            return []
        engine = self._own()
        engine.writer.flush()
        return engine.list(selection, now_s, limit)

    def stats(self) -> StoreStats:
        """What waits for the writer is not counted in `entries` and `size_bytes` yet."""
        engine = self._own()
        entries, size_bytes = (0, 0) if self._closed else engine.totals()
        return StoreStats(
            name="sqlite", entries=entries, size_bytes=size_bytes, **engine.tally.counts()
        )

    def removals(self) -> int:
        """Changes when any process removed entries from the file; -1 where it cannot be read."""
        return -1 if self._closed else self._own().removals()

    def problem(self) -> str:
        """Whether the last attempt to open the file, or to write to it, failed."""
        if self._engine.file.is_off:
            return "the disk tier is off: its file cannot be opened"
        return "writes to the disk tier fail" if self._engine.writer.is_failing else ""

    def flush(self) -> None:
        """Commits what was put: it survives the end of this process at once, and a loss of power
        from the next checkpoint of the log on (`synchronous = NORMAL`)."""
        if not self._closed:
            self._own().writer.flush()

    def close(self) -> None:
        self._closed = True
        self._finalizer()

    def _own(self) -> _Engine:
        """The engine of this process. Connections and threads do not survive a fork, and closing
        the parent's connections here could harm it, so they are kept but never touched."""
        engine = self._engine
        if engine.pid == os.getpid():
            return engine
        with self._fork_lock:
            if self._engine.pid != os.getpid():
                self._abandoned.append(self._engine)
                self._engine = _Engine(
                    engine.path, self._max_bytes, self._clock, self._keep_stale_s
                )
                self._finalizer = weakref.finalize(self, _shut, self._engine)
            return self._engine


class _Engine:
    """File, writer and counters of one process."""

    def __init__(self, path: Path, max_bytes: int, clock: Clock, keep_stale_s: float) -> None:
        self.path = path
        self.pid = os.getpid()
        self._keep_stale_s = keep_stale_s
        self.tally = Tally()
        self.file = DatabaseFile(path, clock)
        self.writer = Writer(self.file, max_bytes, clock, self.tally, keep_stale_s)

    def attempt_open(self) -> None:
        """Finds and reports at the start what is wrong with the file."""
        self.totals()

    def totals(self) -> tuple[int, int]:
        try:
            with self.file.connection() as connection:
                return sqlite_rows.totals(connection)
        except StoreError:
            self.tally.add("errors")
            return 0, 0

    def removals(self) -> int:
        try:
            with self.file.connection() as connection:
                return sqlite_rows.removals(connection)
        except StoreError:
            self.tally.add("errors")
            return -1

    def count(self, selection: Selection, now_s: float) -> int:
        try:
            with self.file.connection() as connection:
                return len(sqlite_rows.matching(connection, selection, now_s))
        except StoreError:
            self.tally.add("errors")
            return 0

    def read(self, key: bytes, scope: bytes, now_s: float) -> Entry | None:
        """The verified entry; one that does not verify, or is past its time, is removed."""
        try:
            with self.file.connection() as connection:
                found = sqlite_rows.find(connection, key)
        except StoreError:
            self.tally.add("errors")
            return None
        if found is None:
            return None
        row, used_s = found
        entry = self._verified(key, row, scope)
        if entry is None or self.writer.hides(entry):
            return None
        if now_s >= entry.expires_s + self._keep_stale_s:
            self.writer.expire(key, now_s)
        elif abs(now_s - used_s) >= TOUCH_AFTER_S:
            self.writer.touch(key, now_s)
        return entry

    def list(self, selection: Selection, now_s: float, limit: int) -> builtins.list[Entry]:
        try:
            with self.file.connection() as connection:
                keys = sqlite_rows.matching(connection, selection, now_s, limit)
                found = [(key, sqlite_rows.find(connection, key)) for key in keys]
        except StoreError:
            self.tally.add("errors")
            return []
        entries = (self._verified(key, row[0], None) for key, row in found if row is not None)
        return [e for e in entries if e is not None and not self.writer.hides(e)]

    def _verified(self, key: bytes, row: object, scope: bytes | None) -> Entry | None:
        try:
            return decode(row, key, scope)
        except CodecError:
            self.tally.add("integrity_failures")
            self.writer.forget(key, row)
            return None


def _is_current(entry: Entry, now_s: float, stale_s: float) -> bool:
    return now_s < entry.expires_s + stale_s and entry.created_s <= now_s + FUTURE_MAX_S


def _shut(engine: _Engine) -> None:
    """Also called when the store is collected, and at the end of the interpreter."""
    if engine.pid == os.getpid():
        engine.writer.close()
        engine.file.close()
