"""Files of durable jobs: their bytes in a folder beside the database, one file each.

A file is written under a name of its own, forced to the disk and renamed; its row is committed
after that. A crash leaves bytes without a row, never a row without bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import apsw

from headgate.errors import StoreError
from headgate.jobs.base import InUse
from headgate.jobs.model import StoredFile

STRAY_S = 86_400.0
"""After so long what has no row is a leftover of a crash."""
_PART = ".part"
_PAGE_BYTES = 4096


class Spool:
    """The folder `folder`, made if there is none, for this user only. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def write(self, file_id: str, content: Iterable[bytes]) -> tuple[int, str]:
        """(bytes, SHA-256 in hex) of what was written. Raises StoreError, and leaves nothing then,
        nor where `content` raises."""
        part = self._folder / f"{file_id}{_PART}"
        try:
            written = _write(part, content)
            os.rename(part, self.path(file_id))
            self._sync()
        except OSError as problem:
            raise StoreError(f"{self._folder}: {problem.strerror or problem}") from problem
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part)
        return written

    def open(self, file_id: str) -> BinaryIO:
        """The content. Raises StoreError."""
        try:
            return open(self.path(file_id), "rb")
        except OSError as problem:
            raise StoreError(f"{self._folder}: {problem.strerror}: {file_id}") from problem

    def remove(self, file_id: str) -> None:
        """Nothing where there is none; what cannot be removed is a stray."""
        with contextlib.suppress(OSError):
            os.unlink(self.path(file_id))

    def path(self, file_id: str) -> Path:
        """Where the content lies."""
        return self._folder / file_id

    def strays(self, before_s: float) -> list[str]:
        """Names of what has not been written to since `before_s`, by the wall clock."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            return [entry.name for entry in entries if entry.stat().st_mtime < before_s]
        return []

    def _sync(self) -> None:
        """Makes the names in the folder durable."""
        if sys.platform == "win32":
            return
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(part: Path, content: Iterable[bytes]) -> tuple[int, str]:
    digest, size_bytes = hashlib.sha256(), 0
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        for piece in content:
            opened.write(piece)
            digest.update(piece)
            size_bytes += len(piece)
        opened.flush()
        os.fsync(opened.fileno())
    return size_bytes, digest.hexdigest()


# Rows.


def insert(connection: apsw.Connection, file: StoredFile) -> None:
    """Adds a file."""
    connection.execute(
        "INSERT INTO file(id, tenant, purpose, name, size_bytes, created_s, sha256)"
        " VALUES (?,?,?,?,?,?,?)",
        (file.id, file.tenant, file.purpose, file.name, file.size_bytes, file.created_s,
         file.sha256),
    )  # fmt: skip


def find(connection: apsw.Connection, file_id: str, tenant: str | None) -> StoredFile | None:
    """The file of that id; None for an unknown one, and for another tenant's."""
    found: Any = connection.execute(
        "SELECT id, tenant, purpose, name, size_bytes, created_s, sha256 FROM file"
        " WHERE id = ?1 AND (?2 IS NULL OR tenant = ?2)",
        (file_id, tenant),
    ).fetchall()
    return StoredFile(*found[0]) if found else None


def newest(connection: apsw.Connection, tenant: str, after: str, limit: int) -> list[StoredFile]:
    """Files of a tenant, the newest first, those after the id `after`."""
    found: Any = connection.execute(
        "SELECT id, tenant, purpose, name, size_bytes, created_s, sha256 FROM file"
        " WHERE tenant = ?1 AND (?2 = '' OR number <"
        " (SELECT number FROM file WHERE id = ?2 AND tenant = ?1)) ORDER BY number DESC LIMIT ?3",
        (tenant, after, limit),
    )
    return [StoredFile(*row) for row in found.fetchall()]


def remove(connection: apsw.Connection, file_id: str, tenant: str) -> bool:
    """Whether there was such a file. Raises InUse for one that an unfinished job reads."""
    found: Any = connection.execute(
        "SELECT (SELECT min(id) FROM job WHERE input_file_id = file.id"
        " AND state NOT IN ('completed', 'failed', 'expired', 'cancelled'))"
        " FROM file WHERE id = ? AND tenant = ?",
        (file_id, tenant),
    ).fetchall()
    if found and found[0][0] is not None:
        raise InUse(f"{file_id} is read by {found[0][0]}, which has not ended")
    connection.execute("DELETE FROM file WHERE id = ? AND tenant = ?", (file_id, tenant))
    return bool(found)


def older_than(connection: apsw.Connection, before_s: float, most: int) -> list[tuple[str, str]]:
    """(id, tenant) of files of clients that are older, and that no unfinished job reads."""
    found: Any = connection.execute(
        "SELECT id, tenant FROM file WHERE created_s < ? AND tenant <> '' AND NOT EXISTS"
        " (SELECT 1 FROM job WHERE input_file_id = file.id AND ended_s IS NULL)"
        " ORDER BY number LIMIT ?",
        (before_s, most),
    ).fetchall()
    return [(file_id, tenant) for file_id, tenant in found]


def stored_bytes(connection: apsw.Connection) -> int:
    """What all files take, each a page of the disk at least."""
    found: Any = connection.execute(
        "SELECT coalesce(sum(max(size_bytes, ?)), 0) FROM file", (_PAGE_BYTES,)
    ).get
    return int(found)


def has(connection: apsw.Connection, file_id: str) -> bool:
    """Whether a file has a row."""
    return connection.execute("SELECT 1 FROM file WHERE id = ?", (file_id,)).get is not None
