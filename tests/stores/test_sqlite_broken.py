"""The disk tier and files that are not what was written: harmed, foreign, deleted."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest
from stores.disk import Opened, change_rows, check, filled, found, set_aside
from stores.samples import NOW_S, entry_of

from headgate.stores.sqlite import SqliteStore
from headgate.stores.sqlite_file import APPLICATION_ID
from headgate.testing import FakeClock
from headgate.types import Entry, Selection

CHANGED = 500
"""Bytes of the file that are changed, one after the other."""


def varied(number: int) -> Entry:
    """Every second entry is a stream, and every tenth is longer than a page of the file."""
    content = b'data: {"answer": %d}\n\n' % number * (400 if number % 10 == 0 else 1)
    stream: dict[str, Any] = {"kind": "stream", "usage_at": (number, number + 5)}
    return entry_of(number, content, **(stream if number % 2 else {}))


def test_a_changed_byte_anywhere_in_the_file_never_gives_a_wrong_answer(
    tmp_path: Path, clock: FakeClock
) -> None:
    original = tmp_path / "original.db"
    store = SqliteStore(original, 10_000_000, clock)
    for number in range(30):
        store.put(varied(number), NOW_S)
    store.flush()
    store.close()
    raw = original.read_bytes()
    places = range(0, len(raw), len(raw) // CHANGED)
    assert len(places) >= CHANGED
    answered = 0
    for place in places:
        path = tmp_path / str(place) / "cache.db"
        path.parent.mkdir()
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0xFF]) + raw[place + 1 :])
        store = SqliteStore(path, 10_000_000, clock)
        for number in range(30):
            entry = found(store, number)
            assert entry in (None, varied(number))
            answered += entry is not None
        store.remove(Selection(model="gpt-4o", tag="nothing"), now_s=NOW_S)
        store.put(entry_of(100), NOW_S)
        store.flush()
        assert found(store, 100) == entry_of(100)
        store.close()
        shutil.rmtree(path.parent)
    assert answered > 15 * CHANGED


BROKEN = {
    "garbage": lambda raw: b"no database " * 1000,
    "header": lambda raw: b"X" * 16 + raw[16:],
    "cut in the middle of a page": lambda raw: raw[:5000],
    "cut to the header": lambda raw: raw[:100],
    "zeros": lambda raw: bytes(len(raw)),
}


@pytest.mark.parametrize("harm", BROKEN, ids=str)
def test_a_broken_file_is_set_aside_and_serving_goes_on(
    opened: Opened, path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    filled(opened()).close()
    path.write_bytes(BROKEN[harm](path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        store = opened()
        for number in range(20):
            assert found(store, number) in (None, entry_of(number))
        filled(store)
        store.flush()
    assert found(store, 7) == entry_of(7)
    assert len(set_aside(path)) == 1
    assert len([r for r in caplog.records if "starts empty" in r.message]) == 1
    assert check(path) == "ok"


def test_an_empty_file_is_a_new_one(opened: Opened, path: Path) -> None:
    path.touch()
    assert found(filled(opened()), 7) == entry_of(7)
    assert set_aside(path) == []


@pytest.mark.parametrize(
    "sql",
    [
        f"PRAGMA application_id = {APPLICATION_ID + 1}",
        "PRAGMA user_version = 2",
        "PRAGMA user_version = 0",
        "DROP TABLE totals",
        "DELETE FROM totals",
        "UPDATE totals SET bytes = 'many'",
        "ALTER TABLE entries RENAME COLUMN row TO content",
    ],
)
def test_a_file_of_another_application_or_version_is_set_aside(
    opened: Opened, path: Path, sql: str
) -> None:
    filled(opened()).close()
    change_rows(path, sql)
    store = opened()
    assert found(store, 7) is None
    assert found(filled(store), 7) == entry_of(7)
    assert len(set_aside(path)) == 1


def test_a_database_of_someone_else_is_kept_under_its_new_name(opened: Opened, path: Path) -> None:
    change_rows(path, "CREATE TABLE theirs AS SELECT 1 AS one")
    assert found(filled(opened()), 7) == entry_of(7)
    (name,) = set_aside(path)
    connection = apsw.Connection(str(path.with_name(name)))
    assert connection.execute("SELECT one FROM theirs").get == 1
    connection.close()


def test_files_set_aside_in_the_same_second_do_not_overwrite_each_other(
    opened: Opened, path: Path
) -> None:
    for _ in range(3):
        path.write_bytes(b"garbage" * 1000)
        opened().close()
    assert len(set_aside(path)) == 3


def test_a_file_that_breaks_while_running_is_set_aside_and_serving_goes_on(
    opened: Opened, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = filled(opened(), 200), opened()
    assert found(other, 7) == entry_of(7)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with caplog.at_level(logging.WARNING):
        for store in (one, other):
            for number in range(200):
                assert found(store, number) in (None, entry_of(number))
            store.put(entry_of(300), NOW_S)
            store.flush()
            assert found(store, 300) == entry_of(300)
    assert len(set_aside(path)) >= 1
    assert one.stats().errors + other.stats().errors >= 1
    assert found(opened(), 300) == entry_of(300)
    assert check(path) == "ok"


def test_a_file_that_is_deleted_while_running_is_made_again(opened: Opened, path: Path) -> None:
    store = filled(opened())
    path.unlink()
    assert found(store, 7) is None
    assert found(filled(store), 7) == entry_of(7)
    assert found(opened(), 7) == entry_of(7)
    assert check(path) == "ok"
