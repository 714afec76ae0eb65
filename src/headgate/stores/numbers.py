"""The numbers of several processes added up in one SQLite file, made anew by whoever starts them.

Nothing in it outlives the processes, so nothing is synced: a kill loses what a process had not
added yet, a loss of power all of it. Every failure leaves here as StoreError.
"""

from __future__ import annotations

import threading
from array import array
from pathlib import Path

import apsw
import msgspec
from msgspec import Struct

from headgate.core.tally import OTHER, Levels, Name, Tally, combined, folded, model_of
from headgate.errors import StoreError
from headgate.stores.database import create_private, folder_locked, identity_of, opening

STALE_S = 5.0
"""How long the gauges of a process count that does not say that it lives."""
MODELS_MAX = 80
NAMES_MAX_BYTES = 2_400
"""Names of models that clients have chosen, of all processes: as many, and as long together, as one
process by itself has (`metrics`)."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS totals (name BLOB PRIMARY KEY, counts BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS processes (
    worker TEXT PRIMARY KEY, seen_s REAL NOT NULL, levels BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS models (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS life (
    only INTEGER PRIMARY KEY CHECK (only = 1), name TEXT NOT NULL, began_s REAL NOT NULL);
"""


class Told(Struct, frozen=True):
    """What all processes together have counted, and what each of them has just now."""

    totals: Tally
    levels: list[Levels]
    ages_s: dict[str, float]
    """By process, seconds since it added its numbers; those silent for `STALE_S` are left out."""
    name: str = ""
    """Of the file: another one has another, and counts from 0; "" where the sums are of no file."""
    age_s: float = 0.0
    """Since the first process added to it."""


class SharedNumbers:
    """The file `path`, whose folder must exist. From any thread; each call waits for the disk, and
    for other processes up to 5 s."""

    def __init__(self, path: Path) -> None:
        self.listed: frozenset[str] = frozenset()
        """Models that have a name of their own whatever others there are."""
        self._path = path
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def exchange(
        self, growth: Tally, worker: str, levels: Levels, now_s: float, *, reads: bool = True
    ) -> Told | None:
        """Adds what `worker` has counted since it was here, then (with `reads`) reads all, in one
        transaction. `now_s` is monotonic seconds of the machine. Raises StoreError with nothing
        added."""
        with self._lock:
            told = None
            try:
                connection = self._connected()
                # Not deferred: who reads first and then writes is refused, not made to wait.
                connection.execute("BEGIN IMMEDIATE")
                models = _Models(connection, self.listed)
                _add(connection, growth, models)
                shown = combined({models.shown(name): level} for name, level in levels.items())
                _say(connection, worker, shown, now_s)
                told = _read(connection, now_s) if reads else None
                connection.execute("COMMIT")
            except (apsw.Error, OSError, ValueError) as problem:
                self._disconnect()
                raise StoreError(f"{self._path}: {problem}") from problem
            return told

    def close(self) -> None:
        """Lets go of the file; another call opens it again."""
        with self._lock:
            self._disconnect()

    def _connected(self) -> apsw.Connection:
        if self._connection is not None and self._identity == identity_of(self._path):
            return self._connection
        # Made anew by somebody else or gone: what is open here would be seen by nobody.
        self._disconnect()
        # One at a time: SQLite does not wait for others while it changes the mode of a file.
        with folder_locked(self._path.parent):
            self._connection = _opened(self._path)
        self._identity = identity_of(self._path)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)


def _opened(path: Path) -> apsw.Connection:
    create_private(path)
    with opening(path) as connection:
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "OFF")
        connection.execute(_SCHEMA)
    return connection


class _Models:
    """Which models have a name in the file: the first that came, and what was added under one
    stays there. Each process bounds its own names, but no two need to have the same."""

    def __init__(self, connection: apsw.Connection, listed: frozenset[str]) -> None:
        self._connection = connection
        self._listed = listed
        self._named = {name for (name,) in connection.execute("SELECT name FROM models")}
        self._names_bytes = sum(map(_size_bytes, self._named))

    def shown(self, name: Name) -> Name:
        """`name`, or what stands for it where there is no room for its model."""
        model = model_of(name)
        if model in ("", OTHER) or model in self._listed or model in self._named:
            return name
        names_bytes = self._names_bytes + _size_bytes(model)
        if len(self._named) >= MODELS_MAX or names_bytes > NAMES_MAX_BYTES:
            return folded(name)
        self._connection.execute("INSERT INTO models VALUES (?)", (model,))
        self._named.add(model)
        self._names_bytes = names_bytes
        return name


def _size_bytes(name: str) -> int:
    """As it is shown: with a backslash before what is special there."""
    return len(name.encode("utf-8", "replace")) + sum(map(name.count, '\\"\n'))


def _add(connection: apsw.Connection, growth: Tally, models: _Models) -> None:
    for name, counts in growth.items():
        key = msgspec.json.encode(models.shown(name))
        known = connection.execute("SELECT counts FROM totals WHERE name = ?", (key,)).get
        total = counts
        if known is not None:
            total = [mine + more for mine, more in zip(_numbers(known), counts, strict=True)]
        connection.execute(
            "INSERT OR REPLACE INTO totals VALUES (?, ?)", (key, array("q", total).tobytes())
        )


def _say(connection: apsw.Connection, worker: str, levels: Levels, now_s: float) -> None:
    shown = msgspec.json.encode([(name, value) for name, value in levels.items()])
    # What counts from 0 is known by who began it, and when.
    born = (f"{worker}-{now_s:.6f}", now_s)
    connection.execute("INSERT OR IGNORE INTO life VALUES (1, ?, ?)", born)
    row = (worker, now_s, shown)
    connection.execute("INSERT OR REPLACE INTO processes VALUES (?, ?, ?)", row)


def _read(connection: apsw.Connection, now_s: float) -> Told:
    totals = {
        tuple(msgspec.json.decode(name)): _numbers(counts)
        for name, counts in connection.execute("SELECT name, counts FROM totals")
    }
    levels, ages_s = [], {}
    for worker, seen_s, shown in connection.execute("SELECT worker, seen_s, levels FROM processes"):
        age_s = max(0.0, now_s - seen_s)
        if age_s <= STALE_S:
            levels.append({tuple(name): value for name, value in msgspec.json.decode(shown)})
            ages_s[worker] = age_s
    name, began_s = connection.execute("SELECT name, began_s FROM life").get
    return Told(totals, levels, ages_s, name, max(0.0, now_s - began_s))


def _numbers(content: bytes) -> list[int]:
    numbers = array("q")
    numbers.frombytes(content)
    return numbers.tolist()
