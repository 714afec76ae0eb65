"""The tables of the ledger's file: rows, and what rows that are gone add up to. SQL stands here.

Every value is a parameter; no statement is put together from what came from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apsw

from headgate.core.booking import Row
from headgate.core.money import Tokens
from headgate.core.totals import OTHER, Sum
from headgate.stores.base import Booked

SCHEMA = """
CREATE TABLE booked(
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_s REAL NOT NULL, call TEXT NOT NULL,
    kind TEXT NOT NULL, target TEXT NOT NULL, model TEXT NOT NULL, tenant TEXT NOT NULL,
    calls INTEGER NOT NULL, tokens_input INTEGER NOT NULL, tokens_cache_read INTEGER NOT NULL,
    tokens_cache_write INTEGER NOT NULL, tokens_output INTEGER NOT NULL,
    tokens_cache_write_1h INTEGER NOT NULL, cost_nanos INTEGER, price_version TEXT NOT NULL,
    tier TEXT NOT NULL, estimated INTEGER NOT NULL
) STRICT;
CREATE INDEX booked_at ON booked(at_s);
CREATE TABLE days(
    day TEXT NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL, calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL, nanos INTEGER NOT NULL, unpriced INTEGER NOT NULL,
    estimated_nanos INTEGER NOT NULL, PRIMARY KEY(day, model, kind)
) STRICT, WITHOUT ROWID;
"""
NAME_MAX_CHARS = 200
"""Longer names of models and targets are cut: clients invent them."""
DAY_MODELS_MAX = 1000
"""Models of one day whose sums are kept apart; those of any further one go to `other`."""
_PAGE = 1000


class DaySum(NamedTuple):
    """Rows of one day, model and kind."""

    day: str
    model: str
    kind: str
    amount: Sum


def insert(connection: apsw.Connection, rows: Iterable[Booked]) -> None:
    """Adds rows, in their order."""
    connection.executemany(
        "INSERT INTO booked(at_s, call, kind, target, model, tenant, calls, tokens_input,"
        " tokens_cache_read, tokens_cache_write, tokens_output, tokens_cache_write_1h, cost_nanos,"
        " price_version, tier, estimated) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (_values(booked) for booked in rows),
    )


def _values(booked: Booked) -> tuple[Any, ...]:
    row = booked.row
    tokens = row.tokens
    return (
        booked.at_s, booked.call, row.kind, _name(row.target), _name(booked.model),
        booked.tenant, row.calls, tokens.input, tokens.cache_read, tokens.cache_write,
        tokens.output, tokens.cache_write_1h, row.cost_nanos, row.price_version,
        _name(row.tier), int(row.is_estimated),
    )  # fmt: skip


def _name(text: str) -> str:
    """A surrogate that stands alone cannot be written as UTF-8."""
    return text[:NAME_MAX_CHARS].encode("utf-8", "replace").decode()


def select(connection: apsw.Connection, since_s: float, until_s: float) -> Iterator[Booked]:
    """Rows with `since_s` <= time < `until_s`, in the order in which they were written; a page at
    a time, so that a long reader does not keep the log from being taken in."""
    last = 0
    while True:
        page: list[Any] = connection.execute(
            "SELECT id, at_s, call, kind, target, model, tenant, calls, tokens_input,"
            " tokens_cache_read, tokens_cache_write, tokens_output, tokens_cache_write_1h,"
            " cost_nanos, price_version, tier, estimated FROM booked"
            " WHERE id > ? AND at_s >= ? AND at_s < ? ORDER BY id LIMIT ?",
            (last, since_s, until_s, _PAGE),
        ).fetchall()
        for found in page:
            last = found[0]
            yield _booked(found)
        if len(page) < _PAGE:
            return


def _booked(found: Sequence[Any]) -> Booked:
    _, at_s, call, kind, target, model, tenant, calls, *numbers = found
    tokens, (nanos, version, tier, estimated) = Tokens(*numbers[:5]), numbers[5:]
    row = Row(kind, target, tokens, nanos, version, bool(estimated), calls, tier)
    return Booked(at_s, call, model, tenant, row)


def prune(connection: apsw.Connection, before_s: float, rows_max: int, step: int) -> int:
    """Lets the oldest rows go, at most `step`: those from before `before_s`, and those that are
    more than `rows_max`. Their sums stay. Returns how many went."""
    ends: Any = connection.execute(
        "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM booked"
    ).fetchall()
    first, last = ends[0]
    # Rows are numbered without gaps as long as only the oldest go.
    surplus = last - rows_max
    bound = first + step - 1
    chosen = (bound, surplus, before_s)
    for day in list(_grouped(connection, *chosen)):
        _keep(connection, day)
    connection.execute("DELETE FROM booked WHERE id <= ? AND (id <= ? OR at_s < ?)", chosen)
    return int(connection.changes())


def _grouped(
    connection: apsw.Connection, bound: int, surplus: int, before_s: float
) -> Iterator[DaySum]:
    found = connection.execute(
        "SELECT date(at_s, 'unixepoch'), model, kind, sum(calls),"
        " sum(tokens_input + tokens_cache_read + tokens_cache_write + tokens_cache_write_1h"
        " + tokens_output), coalesce(sum(cost_nanos), 0),"
        " sum(CASE WHEN cost_nanos IS NULL THEN calls ELSE 0 END),"
        " coalesce(sum(CASE WHEN estimated THEN cost_nanos ELSE 0 END), 0)"
        " FROM booked WHERE id <= ? AND (id <= ? OR at_s < ?) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        (bound, surplus, before_s),
    )
    return (DaySum(day, model, kind, Sum(*numbers)) for day, model, kind, *numbers in found)


def _keep(connection: apsw.Connection, one: DaySum) -> None:
    model = one.model
    known: Any = connection.execute(
        "SELECT count(DISTINCT model), coalesce(max(model = ?), 0) FROM days WHERE day = ?",
        (model, one.day),
    ).fetchall()
    if known[0][0] >= DAY_MODELS_MAX and not known[0][1]:
        model = OTHER
    amount = one.amount
    connection.execute(
        "INSERT INTO days VALUES (?,?,?,?,?,?,?,?) ON CONFLICT(day, model, kind) DO UPDATE SET"
        " calls = calls + excluded.calls, tokens = tokens + excluded.tokens,"
        " nanos = nanos + excluded.nanos, unpriced = unpriced + excluded.unpriced,"
        " estimated_nanos = estimated_nanos + excluded.estimated_nanos",
        (one.day, model, one.kind, amount.calls, amount.tokens, amount.nanos, amount.unpriced,
         amount.estimated_nanos),
    )  # fmt: skip


def day_sums(connection: apsw.Connection) -> list[DaySum]:
    """Everything that was ever booked, by day, model and kind: rows, and those that are gone."""
    last = connection.execute("SELECT coalesce(max(id), 0) FROM booked").get
    sums: dict[tuple[str, str, str], Sum] = {}
    gone = connection.execute(
        "SELECT day, model, kind, calls, tokens, nanos, unpriced, estimated_nanos FROM days"
    )
    kept = (DaySum(day, model, kind, Sum(*numbers)) for day, model, kind, *numbers in gone)
    for one in [*kept, *_grouped(connection, last, last, 0.0)]:
        sums.setdefault((one.day, one.model, one.kind), Sum()).add(one.amount)
    return [DaySum(*place, amount) for place, amount in sorted(sums.items(), key=lambda it: it[0])]
