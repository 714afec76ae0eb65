"""Opening an SQLite file: how it is made, marked, set up and locked.

Every file of headgate is opened here. What is to be done about one that cannot be used is said
elsewhere: the disk tier begins anew (`sqlite_file`), what must not be lost is refused
(`database_kept`).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import apsw
from msgspec import Struct

from headgate.errors import StoreError

if sys.platform != "win32":
    import fcntl

BROKEN = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError)
"""These mean that a file is not what we wrote; all else says that it cannot be reached."""

_BUSY_MS = 5000
_CHECKPOINT_PAGES = 500
_JOURNAL_BYTES_MAX = 16_000_000
_LOCK_TRIES = 500
_LOCK_PAUSE_S = 0.01


class Form(Struct, frozen=True):
    """What a file of one kind looks like."""

    application: int
    """Bytes 68 to 71 of the file (sqlite.org/fileformat2.html#application_id)."""
    version: int
    """Of `schema`; it stands in the file as `user_version`."""
    schema: str
    """The statements that make its tables."""
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """FULL: what was acknowledged survives a loss of power, too."""
    page_bytes: int = 4096


class OtherFileError(Exception):
    """A database of another application or of another version of this one."""

    def __init__(self, application: int, version: int) -> None:
        super().__init__(
            f"application {application:#x}, version {version}: not written by this version"
        )
        self.application = application
        self.version = version


def open_file(path: Path, form: Form) -> apsw.Connection:
    """A connection to the file at `path`, which is made if there is none.

    The caller holds `folder_locked`: SQLite does not wait for others while it changes the mode of a
    file. Raises OtherFileError, apsw.Error or OSError; an error of `BROKEN` where the file is
    visibly damaged (`flaw_of` reads all of it).
    """
    create_private(path)
    with opening(path) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        if tables == 0 and _marks(connection) == (0, 0):
            _make(connection, form)
        else:
            compare(connection, form)
        connection.pragma("synchronous", form.synchronous)
        connection.pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
        connection.pragma("journal_size_limit", _JOURNAL_BYTES_MAX)
    return connection


@contextlib.contextmanager
def opening(path: Path) -> Iterator[apsw.Connection]:
    """A connection to a file that is there. It is closed where the block fails, and else open after
    it. Nothing is read yet."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    with closed_on_failure(connection):
        connection.set_busy_timeout(_BUSY_MS)
        # What lies on the disk is not trusted: it is neither mapped nor run, and checked when read.
        connection.pragma("mmap_size", 0)
        connection.pragma("cell_size_check", True)
        connection.pragma("trusted_schema", False)
        yield connection


@contextlib.contextmanager
def closed_on_failure(connection: apsw.Connection) -> Iterator[None]:
    """Whatever the block raises, no connection is left behind."""
    with contextlib.ExitStack() as failure:
        failure.callback(connection.close, True)
        yield
        failure.pop_all()


def compare(connection: apsw.Connection, form: Form) -> None:
    """Raises OtherFileError for a file that does not bear the marks of `form`."""
    marks = _marks(connection)
    if marks != (form.application, form.version):
        raise OtherFileError(*marks)


def flaw_of(connection: apsw.Connection) -> str | None:
    """What is wrong with the file, in SQLite's words; None for a whole one. Reads all of it."""
    found = str(connection.execute("PRAGMA quick_check(1)").get)
    return None if found == "ok" else found


def create_private(path: Path) -> None:
    """Makes the file, for this user only; SQLite gives its companions the same mode."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        # Not opened here: closing any descriptor of a file drops this process's locks on it.
        return
    os.close(descriptor)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def identity_of(path: Path) -> tuple[int, int] | None:
    """Device and inode, by which a file is told from its successor of the same name; None where
    there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Opening and renaming exclude each other, across processes, by a lock on the folder.

    On the folder, because the file itself changes its name, and a lock file would lie about. Held
    for milliseconds; the kernel frees it when its holder dies. Raises OSError, or StoreError where
    someone keeps it for 5 s.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(_LOCK_TRIES):
            if _lock(descriptor):
                break
            threading.Event().wait(_LOCK_PAUSE_S)
        else:
            raise StoreError(f"{folder} stays locked by another process")
        yield
    finally:
        # Said aloud, because a child forked meanwhile keeps the descriptor, and the lock with it.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _marks(connection: apsw.Connection) -> tuple[int, int]:
    return connection.pragma("application_id"), connection.pragma("user_version")


def _make(connection: apsw.Connection, form: Form) -> None:
    connection.pragma("page_size", form.page_bytes)
    connection.pragma("journal_mode", "wal")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(form.schema)
    connection.pragma("application_id", form.application)
    connection.pragma("user_version", form.version)
    connection.execute("COMMIT")
