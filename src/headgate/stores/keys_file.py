"""The database file of client keys: what is opened, and what is refused.

It decides who is let in: where the cache's file would be set aside and begun anew, this one says no
and what to do. Beside it lies the pepper, without which the digests in it are worth nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from pathlib import Path

import apsw

from headgate.clock import secret_bytes
from headgate.errors import ConfigError, Problem, StoreError
from headgate.stores import keys_rows
from headgate.stores.sqlite_file import create_private, folder_locked

APPLICATION_ID = 0x48474B59
"""`HGKY` in bytes 68 to 71 of the file (sqlite.org/fileformat2.html#application_id)."""
SCHEMA_VERSION = 1
PEPPER_BYTES = 32
PEPPER_CHARS_MIN = 32
_BUSY_MS = 5000
_PATH, _PEPPER = "keys.path", "keys.pepper"


def open_keys(path: Path) -> apsw.Connection:
    """A connection to the file at `path`, made if there is none, read through once.

    Raises ConfigError for a file that is not a whole one of ours, or that cannot be opened, with
    what to do.
    """
    try:
        with folder_locked(path.parent):
            create_private(path)
            return _opened(path)
    except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError) as problem:
        raise _damaged(path, str(problem)) from problem
    except (apsw.Error, OSError, StoreError) as problem:
        message = f"{path} cannot be opened: {problem}; free it, or name another file"
        raise ConfigError([Problem(_PATH, message)]) from problem


def mac_of(pepper: bytes, text: bytes) -> bytes:
    """What is kept of a key: HMAC-SHA256 (32 bytes)."""
    return hmac.digest(pepper, text, "sha256")


def check_of(pepper: bytes) -> bytes:
    """Tells a pepper from another one, and says nothing else of it."""
    return mac_of(pepper, b"headgate: is this the pepper of these keys?")


def pepper_file(path: Path) -> Path:
    """Where the pepper of the keys at `path` lies."""
    return path.with_name(f"{path.name}.pepper")


def read_pepper(path: Path, configured: str, *, make: bool = False) -> bytes:
    """The pepper of the keys at `path`: what the configuration says, else what the file beside it
    holds, which is made where `make` and there is none. Raises ConfigError, never with the text."""
    if configured:
        if len(configured) < PEPPER_CHARS_MIN:
            message = f"too short: at least {PEPPER_CHARS_MIN} random characters are wanted"
            raise ConfigError([Problem(_PEPPER, message)])
        return hashlib.sha256(configured.encode("utf-8", "surrogateescape")).digest()
    file = pepper_file(path)
    try:
        if make:
            _make_pepper(file)
        pepper = bytes.fromhex(file.read_text("ascii").strip())
    except FileNotFoundError:
        raise ConfigError([Problem(_PEPPER, _lost(file))]) from None
    except (OSError, ValueError):
        message = f"{file} cannot be read as a pepper: restore it from a backup"
        raise ConfigError([Problem(_PEPPER, message)]) from None
    if len(pepper) != PEPPER_BYTES:
        raise ConfigError([Problem(_PEPPER, f"{file} is not whole: restore it from a backup")])
    return pepper


def is_pepper(pepper: bytes, check: bytes | None) -> bool:
    """Whether keys with this check were made under `pepper`; any will do for the first one."""
    return check is None or hmac.compare_digest(check, check_of(pepper))


def wrong_pepper() -> ConfigError:
    """The keys in the file were made under another one."""
    return ConfigError([Problem(
        _PEPPER,
        "the keys were made under another pepper, and none of them would be known. Set the one "
        "that they were made with; or move the file of keys away and make new keys",
    )])  # fmt: skip


def _make_pepper(file: Path) -> None:
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(f"{secret_bytes(PEPPER_BYTES).hex()}\n")
            opened.flush()
            os.fsync(opened.fileno())


def _opened(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    try:
        _prepare(connection, path)
        found = connection.execute("PRAGMA quick_check(1)").get
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
    if mark == (0, 0) and connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        connection.pragma("journal_mode", "wal")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(keys_rows.SCHEMA)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", SCHEMA_VERSION)
        connection.execute("COMMIT")
    elif mark[0] != APPLICATION_ID:
        message = f"{path} is a database of something else: name another file"
        raise ConfigError([Problem(_PATH, message)])
    elif mark[1] != SCHEMA_VERSION:
        message = f"{path} was written by another version: run that version, or name another file"
        raise ConfigError([Problem(_PATH, message)])
    # A key that was revoked stays so after a loss of power.
    connection.pragma("synchronous", "FULL")
    connection.pragma("journal_size_limit", 16_000_000)


def _damaged(path: Path, problem: str) -> ConfigError:
    return ConfigError([Problem(
        _PATH,
        f"{path} is damaged ({problem}). It says who may make calls and what they have spent, so "
        f"it is not replaced. Restore it from a backup; or move it away, with its -wal and -shm, "
        f"and give out new keys",
    )])  # fmt: skip


def _lost(file: Path) -> str:
    return (
        f"there is no {file}, without which no key is known. Restore it from a backup, or set "
        "keys.pepper; or move the file of keys away and make new keys"
    )
