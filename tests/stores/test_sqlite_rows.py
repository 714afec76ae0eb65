"""The statements on rows, each on a real connection to a database in memory."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores.samples import NOW_S, SCOPE, entry_of, key_of

from headgate.stores import sqlite_rows
from headgate.stores.codec import encode
from headgate.stores.sqlite_rows import Changes
from headgate.types import Selection

LIMIT = 10**9


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    connection.execute(sqlite_rows.SCHEMA)
    yield connection
    connection.close()


def recounted(connection: apsw.Connection) -> tuple[int, int]:
    counted = connection.execute("SELECT count(*), coalesce(sum(length(row)), 0) FROM entries")
    entries, size_bytes = counted.fetchall()[0]
    return int(entries), int(size_bytes)


def test_a_row_holds_the_encoded_entry_and_when_it_was_put(connection: apsw.Connection) -> None:
    assert sqlite_rows.put(connection, entry_of(), NOW_S + 5, LIMIT) == 0
    assert sqlite_rows.find(connection, key_of(1)) == (encode(entry_of()), NOW_S + 5)
    assert sqlite_rows.find(connection, key_of(2)) is None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "old", "large", "expire", "forget", "clean", "evict", "remove"]),
        st.integers(0, 5),
        st.integers(0, 400),
    ),
    max_size=25,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(STEPS)
def test_totals_are_exact_whatever_happens(
    connection: apsw.Connection, steps: list[tuple[str, int, int]]
) -> None:
    for what, number, size in steps:
        now_s = NOW_S + size
        entry = entry_of(number, b"x" * size, ttl_s=200.0)
        if what == "put":
            sqlite_rows.put(connection, entry, NOW_S, LIMIT)
        elif what in ("old", "large"):
            late_s, bytes_max = (NOW_S + 200, LIMIT) if what == "old" else (NOW_S, 10)
            sqlite_rows.put(connection, entry, late_s, bytes_max)
            assert sqlite_rows.find(connection, entry.key) is None
        elif what == "expire":
            assert sqlite_rows.expire(connection, entry.key, now_s) <= (size >= 200)
        elif what == "forget":
            sqlite_rows.forget(connection, entry.key, encode(entry))
        elif what == "clean":
            sqlite_rows.clean(connection, now_s, 2)
        elif what == "evict":
            sqlite_rows.evict(connection, now_s, size * 3, Changes())
            assert sqlite_rows.totals(connection)[1] <= size * 3
        else:
            sqlite_rows.remove(connection, Selection(key=entry.key), now_s)
        assert sqlite_rows.totals(connection) == recounted(connection)
    sqlite_rows.remove(connection, Selection(), NOW_S)
    assert sqlite_rows.totals(connection) == (0, 0)


NAMES = st.sampled_from(["", "a", "b", "A", "a'b", "ü", "%"])
OPTIONAL = st.none() | NAMES


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    rows=st.lists(st.tuples(NAMES, NAMES, st.lists(NAMES, max_size=2)), max_size=6),
    model=OPTIONAL,
    namespace=OPTIONAL,
    tag=OPTIONAL,
    older_than_s=st.none() | st.sampled_from([0.0, 1.0, 2.5]),
)
def test_a_selection_means_in_sql_what_it_means_in_python(
    connection: apsw.Connection,
    rows: list[tuple[str, str, list[str]]],
    model: str | None,
    namespace: str | None,
    tag: str | None,
    older_than_s: float | None,
) -> None:
    connection.execute("DELETE FROM entries")
    entries = [
        entry_of(n, model=m, namespace=ns, tags=tuple(tags), created_s=NOW_S - n)
        for n, (m, ns, tags) in enumerate(rows)
    ]
    for entry in entries:
        sqlite_rows.put(connection, entry, NOW_S, LIMIT)
    selection = Selection(model=model, namespace=namespace, tag=tag, older_than_s=older_than_s)
    expected = {entry.key for entry in entries if selection.matches(entry, NOW_S)}
    assert set(sqlite_rows.matching(connection, selection, NOW_S)) == expected
    assert sqlite_rows.remove(connection, selection, NOW_S) == len(expected)
    assert sqlite_rows.totals(connection)[0] == len(entries) - len(expected)


def test_matching_begins_with_the_last_used_and_ends_at_the_limit(
    connection: apsw.Connection,
) -> None:
    for number in range(4):
        sqlite_rows.put(connection, entry_of(number), NOW_S + number, LIMIT)
    sqlite_rows.touch(connection, {key_of(1): NOW_S + 9})
    keys = sqlite_rows.matching(connection, Selection(scope=SCOPE), NOW_S, 3)
    assert keys == [key_of(1), key_of(3), key_of(2)]


def test_the_least_recently_used_are_evicted_first_and_counted(
    connection: apsw.Connection,
) -> None:
    for number in range(300):
        ttl_s = 10.0 if number < 50 else 3600.0
        sqlite_rows.put(connection, entry_of(number, ttl_s=ttl_s), NOW_S + number / 1000, LIMIT)
    changes = Changes()
    kept_bytes = 100 * len(encode(entry_of()))
    sqlite_rows.evict(connection, NOW_S + 20, kept_bytes, changes)
    assert sqlite_rows.totals(connection)[0] == 100
    assert (changes.expirations, changes.evictions) == (50, 150)
    assert sqlite_rows.find(connection, key_of(199)) is None
    assert sqlite_rows.find(connection, key_of(200)) is not None


def test_a_row_that_was_replaced_is_not_forgotten(connection: apsw.Connection) -> None:
    sqlite_rows.put(connection, entry_of(1, b"new"), NOW_S, LIMIT)
    sqlite_rows.forget(connection, key_of(1), encode(entry_of(1, b"old")))
    assert sqlite_rows.find(connection, key_of(1)) is not None


def test_eviction_and_cleaning_read_the_index_only(connection: apsw.Connection) -> None:
    for statement in (
        "SELECT rowid, bytes, expires_s FROM entries INDEXED BY by_use ORDER BY used_s LIMIT 1",
        "SELECT rowid FROM entries INDEXED BY by_use WHERE expires_s <= 1 LIMIT 1",
    ):
        plan = connection.execute("EXPLAIN QUERY PLAN " + statement).fetchall()
        assert [step[3] for step in plan] == ["SCAN entries USING COVERING INDEX by_use"]


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM totals",
        "INSERT INTO totals VALUES (1, 1, 0)",
        "UPDATE totals SET bytes = 'x'",
        "UPDATE totals SET entries = x'00'",
    ],
)
def test_totals_that_make_no_sense_are_a_broken_file(
    connection: apsw.Connection, harm: str
) -> None:
    connection.execute(harm)
    with pytest.raises(apsw.CorruptError):
        sqlite_rows.totals(connection)
