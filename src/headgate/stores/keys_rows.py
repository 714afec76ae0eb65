"""The tables of the file of client keys: keys, what they have spent, what is reserved. SQL stands
here.

Every value is a parameter. There is no secret in any of them: a key is kept as a keyed digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import apsw

from headgate.core.client import KeyRecord

SCHEMA = """
CREATE TABLE keys(
    id TEXT PRIMARY KEY, family TEXT NOT NULL, tenant TEXT NOT NULL, mac BLOB NOT NULL,
    models TEXT NOT NULL, created_s REAL NOT NULL, requests_per_min INTEGER,
    tokens_per_min INTEGER, day_nanos INTEGER, month_nanos INTEGER, expires_s REAL, revoked_s REAL
) STRICT, WITHOUT ROWID;
CREATE TABLE facts(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE changes(number INTEGER NOT NULL) STRICT;
INSERT INTO changes VALUES (1);
CREATE TABLE spent(
    family TEXT NOT NULL, period TEXT NOT NULL, nanos INTEGER NOT NULL,
    PRIMARY KEY(family, period)
) STRICT, WITHOUT ROWID;
CREATE TABLE held(
    process TEXT NOT NULL, family TEXT NOT NULL, nanos INTEGER NOT NULL, until_s REAL NOT NULL,
    PRIMARY KEY(process, family)
) STRICT, WITHOUT ROWID;
"""
SPENT_KEPT = 400
"""Periods of one key that are kept, the latest."""
_CHECK = "pepper check"


def changes(connection: apsw.Connection) -> int:
    """A number that is another one after every change of a key."""
    return int(connection.execute("SELECT number FROM changes").get or 0)


def records(connection: apsw.Connection) -> list[KeyRecord]:
    """Every key that was ever made, the oldest first."""
    found: Any = connection.execute(
        "SELECT id, family, tenant, mac, models, created_s, requests_per_min, tokens_per_min,"
        " day_nanos, month_nanos, expires_s, revoked_s FROM keys ORDER BY created_s, id"
    )
    return [
        KeyRecord(key, family, tenant, mac, tuple(json.loads(models)), *rest)
        for key, family, tenant, mac, models, *rest in found
    ]


def insert(connection: apsw.Connection, record: KeyRecord) -> None:
    """Adds a key."""
    values = (
        record.id, record.family, record.tenant, record.mac, json.dumps(record.models),
        record.created_s, record.requests_per_min, record.tokens_per_min, record.day_nanos,
        record.month_nanos, record.expires_s, record.revoked_s,
    )  # fmt: skip
    connection.execute("INSERT INTO keys VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", values)
    _changed(connection)


def end(connection: apsw.Connection, key: str, *, revoked_s: float) -> bool:
    """Revokes a key; whether there is one that was not."""
    connection.execute(
        "UPDATE keys SET revoked_s = ? WHERE id = ? AND revoked_s IS NULL", (revoked_s, key)
    )
    ended = bool(connection.changes())
    _changed(connection)
    return ended


def shorten(connection: apsw.Connection, key: str, *, expires_s: float) -> None:
    """Lets a key expire, no later than it would have."""
    connection.execute(
        "UPDATE keys SET expires_s = min(coalesce(expires_s, ?), ?) WHERE id = ?",
        (expires_s, expires_s, key),
    )
    _changed(connection)


def pepper_check(connection: apsw.Connection) -> bytes | None:
    """Tells whether a pepper is that of the keys; None before the first of them."""
    found: Any = connection.execute("SELECT value FROM facts WHERE name = ?", (_CHECK,)).get
    return found if isinstance(found, bytes) else None


def keep_pepper_check(connection: apsw.Connection, check: bytes) -> None:
    """With the first key."""
    connection.execute("INSERT INTO facts VALUES (?, ?)", (_CHECK, check))


def spend(connection: apsw.Connection, family: str, amounts: Mapping[str, int]) -> None:
    """Adds nano-dollars by day and month to what is spent."""
    connection.executemany(
        "INSERT INTO spent VALUES (?,?,?) ON CONFLICT(family, period) DO UPDATE SET"
        " nanos = nanos + excluded.nanos",
        ((family, period, nanos) for period, nanos in amounts.items()),
    )
    connection.execute(
        "DELETE FROM spent WHERE family = ? AND period NOT IN"
        " (SELECT period FROM spent WHERE family = ? ORDER BY period DESC LIMIT ?)",
        (family, family, SPENT_KEPT),
    )


def spent(connection: apsw.Connection) -> dict[str, dict[str, int]]:
    """Nano-dollars by family, and day and month."""
    sums: dict[str, dict[str, int]] = {}
    found: Any = connection.execute("SELECT family, period, nanos FROM spent")
    for family, period, nanos in found:
        sums.setdefault(family, {})[period] = nanos
    return sums


def hold(
    connection: apsw.Connection, process: str, holds: Iterable[tuple[str, int]], until_s: float
) -> None:
    """What `process` has reserved, in place of what it had; counts until `until_s`."""
    connection.execute("DELETE FROM held WHERE process = ?", (process,))
    connection.executemany(
        "INSERT INTO held VALUES (?,?,?,?)",
        ((process, family, nanos, until_s) for family, nanos in holds),
    )


def forget_held(connection: apsw.Connection, now_s: float) -> None:
    """What nobody renews any more: its process was killed."""
    connection.execute("DELETE FROM held WHERE until_s < ?", (now_s,))


def held_elsewhere(connection: apsw.Connection, process: str, now_s: float) -> dict[str, int]:
    """What other processes have reserved, by family."""
    found: Any = connection.execute(
        "SELECT family, sum(nanos) FROM held WHERE process <> ? AND until_s >= ? GROUP BY family",
        (process, now_s),
    )
    return dict(found)


def _changed(connection: apsw.Connection) -> None:
    connection.execute("UPDATE changes SET number = number + 1")
