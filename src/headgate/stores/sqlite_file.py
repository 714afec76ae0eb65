"""The database file of the disk tier: opens it, lends connections, sets a broken one aside.

What this file is trusted with: nothing. A file that is not ours, of another version or corrupt is
renamed to `NAME.corrupt-SECONDS`, and an empty one takes its place. Every failure leaves here as
StoreError.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw

from headgate.clock import Clock
from headgate.errors import StoreError
from headgate.stores import sqlite_rows
from headgate.stores.database import (
    BROKEN,
    Form,
    OtherFileError,
    closed_on_failure,
    folder_locked,
    identity_of,
    open_file,
)

APPLICATION_ID = 0x48474154
"""`HGAT`."""
SCHEMA_VERSION = 1
RETRY_AFTER_S = 30.0
"""After a failure, how long the disk is left alone."""
CONNECTIONS_MAX = 5

# A row of 2.2 KB takes 4.2 KB of the file in pages of 4 KB and 2.9 KB in these (measured).
_PAGE_BYTES = 8192
_FORM = Form(
    APPLICATION_ID, SCHEMA_VERSION, sqlite_rows.SCHEMA, synchronous="NORMAL", page_bytes=_PAGE_BYTES
)
_LOG = logging.getLogger(__name__)


class FileSetAside(StoreError):
    """The file was broken; it has been renamed. Trying again meets an empty one."""

    code = "store_set_aside"


class _Session:
    """A connection and the identity of the file it was opened on."""

    __slots__ = ("connection", "identity")

    def __init__(self, connection: apsw.Connection, identity: tuple[int, int]) -> None:
        self.connection = connection
        self.identity = identity


class DatabaseFile:
    """Lends up to `CONNECTIONS_MAX` connections to `path`, each to one thread at a time.

    `path` is made absolute at once; symbolic links are followed. The folder must exist.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = Path(os.path.realpath(path))
        self._clock = clock
        self._lock = threading.Lock()
        self._seats = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._idle: list[_Session] = []
        self._retry_at_s: float | None = None
        self._closed = False

    @contextlib.contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        """A connection for the length of a `with` block.

        A failure of SQLite or of the file system, while opening or inside the block, leaves as
        StoreError; as FileSetAside if the file was broken and has been replaced. After a failure
        to open, the next 30 s fail at once.
        """
        with self._seats:
            session = self._borrow()
            try:
                yield session.connection
            except apsw.Error as problem:
                _discard(session)
                raise self._failure(session.identity, problem) from problem
            self._return(session)

    @property
    def is_off(self) -> bool:
        """Whether it could not be opened the last time."""
        return self._retry_at_s is not None

    def close(self) -> None:
        """Closes every idle connection; those that are lent out close when they come back."""
        with self._lock:
            self._closed = True
            sessions, self._idle = self._idle, []
        for session in sessions:
            _discard(session)

    # Sessions. A session is used again only while its file still bears our name: another process
    # may have set the file aside, and an administrator may have removed it.

    def _borrow(self) -> _Session:
        identity = identity_of(self.path)
        while True:
            with self._lock:
                session = self._idle.pop() if self._idle else None
            if session is None:
                return self._open()
            if session.identity == identity:
                return session
            _discard(session)

    def _return(self, session: _Session) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(session)
                return
        _discard(session)

    def _open(self) -> _Session:
        now_s = self._clock.monotonic()
        if self._closed:
            raise StoreError("the disk tier is closed")
        if self._retry_at_s is not None and now_s < self._retry_at_s:
            raise StoreError(f"{self.path} could not be opened a moment ago")
        try:
            with folder_locked(self.path.parent):
                session = self._open_or_replace()
        except (apsw.Error, OSError, StoreError) as problem:
            if self._retry_at_s is None:
                _LOG.warning("the disk tier is off, answers are kept in memory only: %s", problem)
            self._retry_at_s = now_s + RETRY_AFTER_S
            raise StoreError(f"cannot open {self.path}: {problem}") from problem
        self._retry_at_s = None
        return session

    def _open_or_replace(self) -> _Session:
        try:
            return _opened(self.path)
        except (*BROKEN, OtherFileError) as problem:
            self._set_aside(problem)
            return _opened(self.path)

    # Broken files.

    def _failure(self, identity: tuple[int, int], problem: apsw.Error) -> StoreError:
        if not isinstance(problem, BROKEN):
            return StoreError(f"{self.path}: {problem}")
        try:
            with folder_locked(self.path.parent):
                # Another thread or process may have been quicker: then this is no longer the file.
                if identity_of(self.path) == identity:
                    self._set_aside(problem)
        except (OSError, StoreError) as unmovable:
            return StoreError(f"{self.path} is broken and cannot be set aside: {unmovable}")
        return FileSetAside(f"{self.path} was broken: {problem}")

    def _set_aside(self, problem: Exception) -> None:
        """Renames the file and its companions. The log (`-wal`) goes first: a crash in between must
        not leave it to the next file of that name, which SQLite would replay it into."""
        stem = f"{self.path}.corrupt-{int(self._clock.epoch())}"
        target, count = stem, 0
        while os.path.lexists(target):
            count += 1
            target = f"{stem}-{count}"
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.path}{suffix}", f"{target}{suffix}")
        _LOG.warning("%s: starts empty, the old file is now %s", problem, target)


def _opened(path: Path) -> _Session:
    connection = open_file(path, _FORM)
    with closed_on_failure(connection):
        # Reads once, so that a broken file is found here, and its log is open before the lock is
        # free.
        sqlite_rows.totals(connection)
        sqlite_rows.find(connection, b"")
        identity = identity_of(path)
        if identity is None:
            raise StoreError("the file vanished while it was opened")
    return _Session(connection, identity)


def _discard(session: _Session) -> None:
    """Closes for good. SQLite leaves the companions of a file that was renamed alone
    (`databaseIsUnmoved` in its pager), so this cannot harm the file that took its place."""
    with contextlib.suppress(apsw.Error):
        session.connection.close(True)
