"""The ledger's database file: what is opened, and what is refused.

It holds money: where the cache's file would be set aside and begun anew, this one says no and what
to do. After the start nothing is refused: a file that breaks or a disk that fills up costs rows,
which are counted, and never an answer.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from headgate.errors import ConfigError, Problem, StoreError
from headgate.stores import ledger_rows
from headgate.stores.sqlite_file import create_private, folder_locked

APPLICATION_ID = 0x48474C45
"""`HGLE` in bytes 68 to 71 of the file (sqlite.org/fileformat2.html#application_id)."""
SCHEMA_VERSION = 1
_BUSY_MS = 5000
_CHECKPOINT_PAGES = 500
_KEY = "ledger.path"


def open_checked(path: Path) -> apsw.Connection:
    """A connection to the file at `path`, made if there is none, read through once.

    Raises ConfigError for a file that is not a whole ledger of this version, or that cannot be
    opened, with what to do.
    """
    try:
        with folder_locked(path.parent):
            return _opened(path, is_checked=True)
    except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError) as problem:
        raise _damaged(path, str(problem)) from problem
    except (apsw.Error, OSError, StoreError) as problem:
        message = f"{path} cannot be opened: {problem}; free it, or name another file"
        raise ConfigError([Problem(_KEY, message)]) from problem


def open_again(path: Path) -> apsw.Connection:
    """A connection to a file that was checked at the start. Raises StoreError."""
    try:
        with folder_locked(path.parent):
            return _opened(path, is_checked=False)
    except (apsw.Error, OSError, ConfigError) as problem:
        raise StoreError(f"{path}: {problem}") from problem


def open_to_read(path: Path) -> apsw.Connection:
    """A connection that changes nothing. Raises ConfigError as `open_checked` does, and where
    there is no such file."""
    if not path.exists():
        raise ConfigError([Problem(_KEY, f"there is no ledger at {path}")])
    connection: apsw.Connection | None = None
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(_BUSY_MS)
        connection.pragma("query_only", True)
        _is_ours(connection, path)
    except apsw.Error as problem:
        if connection is not None:
            connection.close(True)
        raise _damaged(path, str(problem)) from problem
    return connection


def _opened(path: Path, *, is_checked: bool) -> apsw.Connection:
    create_private(path)
    connection = apsw.Connection(str(path))
    try:
        _prepare(connection, path)
        found = connection.execute("PRAGMA quick_check(1)").get if is_checked else "ok"
    except (apsw.Error, ConfigError):
        connection.close(True)
        raise
    if found != "ok":
        connection.close(True)
        raise _damaged(path, str(found))
    return connection


def _prepare(connection: apsw.Connection, path: Path) -> None:
    connection.set_busy_timeout(_BUSY_MS)
    connection.pragma("mmap_size", 0)
    connection.pragma("cell_size_check", True)
    connection.pragma("trusted_schema", False)
    mark = (connection.pragma("application_id"), connection.pragma("user_version"))
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if mark == (0, 0) and tables == 0:
        _create_tables(connection)
    else:
        _is_ours(connection, path)
    # Money: a row that was acknowledged survives a loss of power, too.
    connection.pragma("synchronous", "FULL")
    connection.pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
    connection.pragma("journal_size_limit", 16_000_000)


def _create_tables(connection: apsw.Connection) -> None:
    connection.pragma("journal_mode", "wal")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(ledger_rows.SCHEMA)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", SCHEMA_VERSION)
    connection.execute("COMMIT")


def _is_ours(connection: apsw.Connection, path: Path) -> None:
    application = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if application != APPLICATION_ID:
        message = f"{path} is a database of something else: name another file"
        raise ConfigError([Problem(_KEY, message)])
    if version != SCHEMA_VERSION:
        message = (
            f"{path} was written by another version: its schema is {version}, this program's is "
            f"{SCHEMA_VERSION}; run that version, or name another file"
        )
        raise ConfigError([Problem(_KEY, message)])


def _damaged(path: Path, problem: str) -> ConfigError:
    recovered = f"{os.path.basename(path)}.recovered"
    return ConfigError([Problem(
        _KEY,
        f"{path} is damaged ({problem}). It holds what calls have cost, so it is not replaced. "
        f"Restore it from a backup; or save what can be read with `sqlite3 {path.name} .recover | "
        f"sqlite3 {recovered}`; or move it away, with its -wal and -shm, to begin a new ledger",
    )])  # fmt: skip
