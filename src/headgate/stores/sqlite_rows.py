"""What the rows of the disk tier mean: every statement on them, each a function of a connection.

Transactions, threads and failures are the callers' business: apsw's errors pass through here.
"""

from __future__ import annotations

import apsw
import msgspec
from msgspec import Struct

from headgate.stores.codec import CodecError, encode
from headgate.types import EVERYTHING, Entry, Selection

SCHEMA = """
CREATE TABLE entries (
  key BLOB PRIMARY KEY NOT NULL, scope BLOB NOT NULL, model TEXT NOT NULL,
  namespace TEXT NOT NULL, tags TEXT NOT NULL, created_s REAL NOT NULL, expires_s REAL NOT NULL,
  used_s REAL NOT NULL, bytes INTEGER NOT NULL, row BLOB NOT NULL
);
CREATE INDEX by_use ON entries (used_s, expires_s, bytes);
CREATE TABLE totals (
  entries INTEGER NOT NULL, bytes INTEGER NOT NULL, removals INTEGER NOT NULL
);
INSERT INTO totals VALUES (0, 0, 0);
CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
  UPDATE totals SET entries = entries + 1, bytes = bytes + new.bytes;
END;
CREATE TRIGGER entry_changed AFTER UPDATE OF bytes ON entries BEGIN
  UPDATE totals SET bytes = bytes + new.bytes - old.bytes;
END;
CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
  UPDATE totals SET entries = entries - 1, bytes = bytes - old.bytes;
END;
"""
"""`row` is an entry as `codec` writes it; `expires_s` is when it is of no use any more, not even as
a stale one; the other columns repeat what selections, eviction and cleaning ask for. `bytes` is the
length of `row`, charged against the bound; the triggers keep `totals` exact inside each
transaction, whichever process writes. The index holds all that eviction and cleaning need, so
neither reads the table."""

_PUT = """
INSERT INTO entries (key, scope, model, namespace, tags, created_s, expires_s, used_s, bytes, row)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET scope = excluded.scope, model = excluded.model,
  namespace = excluded.namespace, tags = excluded.tags, created_s = excluded.created_s,
  expires_s = excluded.expires_s, used_s = excluded.used_s, bytes = excluded.bytes,
  row = excluded.row
"""
_SELECT = """
SELECT key FROM entries WHERE key BETWEEN :key_low AND :key_high
  AND (:model IS NULL OR model = :model)
  AND (:namespace IS NULL OR namespace = :namespace)
  AND (:tag IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag))
  AND (:older_than_s IS NULL OR :now_s - created_s > :older_than_s)
  AND (:scope IS NULL OR scope = :scope)
ORDER BY used_s DESC LIMIT :limit
"""
_EVERY_KEY = {"key_low": b"", "key_high": b"\xff" * 33}
_UNLIMITED = -1
_EVICT_STEP = 100


class Changes(Struct):
    """What one transaction did, told to the counters once it is committed."""

    evictions: int = 0
    expirations: int = 0
    errors: int = 0


def find(connection: apsw.Connection, key: bytes) -> tuple[object, float] | None:
    """The row of `key`, not verified, and when it was last used."""
    found = connection.execute("SELECT row, used_s FROM entries WHERE key = ?", (key,)).fetchall()
    return (found[0][0], _number(found[0][1])) if found else None


def put(
    connection: apsw.Connection,
    entry: Entry,
    now_s: float,
    bytes_max: int,
    keep_stale_s: float = 0.0,
) -> int:
    """Writes `entry` in the place of its predecessor, and returns 1 if it could not be encoded.

    One that may not be kept (past its time, larger than `bytes_max`, kind "object") removes its
    predecessor all the same, so that no older answer comes back.
    """
    row, unwritten = b"", 0
    if now_s < entry.expires_s and entry.kind != "object":
        try:
            row = encode(entry)
        except CodecError:
            unwritten = 1
    if not row or len(row) > bytes_max:
        connection.execute("DELETE FROM entries WHERE key = ?", (entry.key,))
        return unwritten
    tags = msgspec.json.encode(entry.tags).decode()
    facts = (entry.key, entry.scope, entry.model, entry.namespace, tags)
    times = (entry.created_s, entry.expires_s + keep_stale_s, now_s)
    connection.execute(_PUT, (*facts, *times, len(row), row))
    return 0


def touch(connection: apsw.Connection, used: dict[bytes, float]) -> None:
    """Notes when keys were last used."""
    connection.executemany(
        "UPDATE entries SET used_s = ? WHERE key = ?",
        [(used_s, key) for key, used_s in used.items()],
    )


def forget(connection: apsw.Connection, key: bytes, row: object) -> None:
    """Removes a row that did not verify; a good one put since stays."""
    connection.execute("DELETE FROM entries WHERE key = ? AND row IS ?", (key, row))


def expire(connection: apsw.Connection, key: bytes, now_s: float) -> int:
    """Removes the row of `key` if its time has passed; returns how many."""
    connection.execute("DELETE FROM entries WHERE key = ? AND expires_s <= ?", (key, now_s))
    return connection.changes()


def matching(
    connection: apsw.Connection, selection: Selection, now_s: float, limit: int = _UNLIMITED
) -> list[bytes]:
    """Keys of at most `limit` rows that `Selection.matches`, most recently used first."""
    if not _is_unicode(selection):
        return []
    wanted = {**msgspec.structs.asdict(selection), **_EVERY_KEY, "now_s": now_s, "limit": limit}
    if selection.key is not None:
        wanted |= {"key_low": selection.key, "key_high": selection.key}
    keys = [key for (key,) in connection.execute(_SELECT, wanted)]
    return [key for key in keys if isinstance(key, bytes)]


def _is_unicode(selection: Selection) -> bool:
    """Whether its texts can be bound; no stored text holds a lone surrogate (`codec.encode`)."""
    texts = (selection.model, selection.namespace, selection.tag)
    try:
        return all(text is None or text.encode() is not None for text in texts)
    except UnicodeEncodeError:
        return False


def remove(connection: apsw.Connection, selection: Selection, now_s: float) -> int:
    """Removes the rows that match, which every process learns by `removals`; returns how many."""
    connection.execute("UPDATE totals SET removals = removals + 1")
    if selection == EVERYTHING:
        connection.execute("DELETE FROM entries")
        return connection.changes()
    keys = matching(connection, selection, now_s)
    connection.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key in keys])
    return len(keys)


def clean(connection: apsw.Connection, now_s: float, limit: int) -> int:
    """Removes at most `limit` rows whose time has passed; returns how many."""
    connection.execute(
        "DELETE FROM entries WHERE rowid IN "
        "(SELECT rowid FROM entries INDEXED BY by_use WHERE expires_s <= ? LIMIT ?)",
        (now_s, limit),
    )
    return connection.changes()


def evict(connection: apsw.Connection, now_s: float, bytes_max: int, changes: Changes) -> None:
    """Removes the least recently used rows until the sum is at most `bytes_max`."""
    excess = totals(connection)[1] - bytes_max
    while excess > 0:
        oldest = connection.execute(
            "SELECT rowid, bytes, expires_s FROM entries INDEXED BY by_use ORDER BY used_s LIMIT ?",
            (_EVICT_STEP,),
        ).fetchall()
        if not oldest:
            return
        for rowid, size_bytes, expires_s in oldest:
            if excess > 0:
                connection.execute("DELETE FROM entries WHERE rowid = ?", (rowid,))
                excess -= int(_number(size_bytes))
                fresh = now_s < _number(expires_s)
                changes.evictions += fresh
                changes.expirations += not fresh


def totals(connection: apsw.Connection) -> tuple[int, int]:
    """Rows, and the sum of their bytes."""
    rows = connection.execute("SELECT entries, bytes FROM totals").fetchall()
    if len(rows) != 1:
        raise apsw.CorruptError("totals is one row")
    return int(_number(rows[0][0])), int(_number(rows[0][1]))


def removals(connection: apsw.Connection) -> int:
    """How often `remove` was called, by any process, since the file was made."""
    return int(_number(connection.execute("SELECT removals FROM totals").fetchall()[0][0]))


def _number(value: object) -> float:
    """SQLite checks types when it writes, not when it reads what a disk has changed."""
    if not isinstance(value, int | float):
        raise apsw.CorruptError("a column of numbers holds something else")
    return value
