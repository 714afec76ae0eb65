"""The disk tier in one process: what survives, time, rows that do not verify, unusable places.

What any store promises is asked in tests/contracts/test_stores.py; broken files in
test_sqlite_broken.py, full disks and killed processes in test_sqlite_processes.py.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import apsw
import pytest
from stores.disk import Opened, change_rows, filled, found
from stores.samples import NOW_S, entry_of, key_of

from headgate.stores.sqlite import SqliteStore
from headgate.testing import FakeClock
from headgate.types import Selection

# What survives.


def test_entries_survive_a_restart(opened: Opened) -> None:
    filled(opened()).close()
    assert found(opened(), 7) == entry_of(7)


def test_what_was_put_just_before_closing_survives(opened: Opened) -> None:
    store = opened()
    store.put(entry_of(), NOW_S)
    store.close()
    assert found(opened()) == entry_of()


def test_a_store_that_is_forgotten_keeps_what_was_put(path: Path, clock: FakeClock) -> None:
    store = SqliteStore(path, 10_000_000, clock)
    store.put(entry_of(), NOW_S)
    del store
    store = SqliteStore(path, 10_000_000, clock)
    assert found(store) == entry_of()
    store.close()


def test_two_stores_on_one_file_share_entries_and_removals(opened: Opened) -> None:
    one, other = filled(opened()), opened()
    assert found(other, 7) == entry_of(7)
    assert other.remove(Selection(key=key_of(7)), now_s=NOW_S) == 1
    assert found(one, 7) is None
    assert one.stats().entries == other.stats().entries == 19


def test_only_this_user_can_read_the_file_and_its_log(opened: Opened, path: Path) -> None:
    filled(opened())
    files = [f for f in path.parent.iterdir() if f.name.startswith("cache.db")]
    assert len(files) == 3
    assert {oct(f.stat().st_mode & 0o777) for f in files} == {"0o600"}


def test_a_relative_path_stays_where_it_was_opened(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(Path("cache.db"), 10_000_000, clock)
    monkeypatch.chdir(tmp_path / "elsewhere")
    filled(store).close()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_opens_the_file_anew_and_leaves_the_parent_alone(opened: Opened) -> None:
    store = filled(opened())
    child = os.fork()
    if child == 0:
        ok = found(store, 7) == entry_of(7)
        store.put(entry_of(100), NOW_S)
        store.close()
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert found(store, 100) == entry_of(100)
    store.put(entry_of(101), NOW_S)
    store.flush()
    assert store.stats().entries == 22
    assert store.stats().errors == 0


@pytest.mark.usefixtures("impatient")
def test_a_thread_always_reads_what_it_put_last(opened: Opened) -> None:
    store = opened()
    for step in range(3000):
        store.put(entry_of(1, b"%d" % step), NOW_S)
        for _ in range(step % 4):
            entry = found(store)
            assert entry is not None
            assert entry.content == b"%d" % step
        if step % 1000 == 0:
            store.flush()


def test_an_answer_that_could_not_be_removed_is_not_served(
    opened: Opened, clock: FakeClock
) -> None:
    store = filled(opened())
    file = store._engine.file
    with file.connection() as one, file.connection() as two:
        # The removal fails, and fails again when it is tried alone.
        one.pragma("query_only", True)
        two.pragma("query_only", True)
    assert store.remove(now_s=NOW_S) == 0
    assert found(store, 7) is None
    assert store.list(now_s=NOW_S, limit=100) == []
    clock.advance(31)
    store.flush()
    assert store.stats().entries == 0


# Time.


def test_an_entry_from_the_future_is_a_miss_until_its_time_comes(opened: Opened) -> None:
    store = opened()
    store.put(entry_of(created_s=NOW_S + 301), NOW_S)
    assert found(store) is None
    store.flush()
    assert found(store) is None
    assert found(store, now_s=NOW_S + 1) is not None


def test_entries_whose_time_has_passed_are_cleaned_and_counted(
    opened: Opened, clock: FakeClock
) -> None:
    store = filled(opened())
    clock.advance(3601)
    store.put(entry_of(100, created_s=clock.epoch()), clock.epoch())
    store.flush()
    stats = store.stats()
    assert (stats.entries, stats.expirations, stats.evictions) == (1, 20, 0)


def test_a_hot_entry_moves_up_once_in_ten_seconds(opened: Opened, path: Path) -> None:
    store = filled(opened(), 1)
    stamps = []
    for seconds in (0, 9, 10, 19, 20):
        found(store, 0, NOW_S + seconds)
        store.flush()
        connection = apsw.Connection(str(path))
        stamps.append(connection.execute("SELECT used_s FROM entries").get - NOW_S)
        connection.close()
    assert stamps == [0, 0, 10, 10, 20]


# Rows that are not what was written.


def test_a_changed_row_is_a_miss_is_removed_and_counted(opened: Opened, path: Path) -> None:
    store = filled(opened())
    connection = apsw.Connection(str(path))
    row = bytearray(connection.execute("SELECT row FROM entries WHERE key = ?", (key_of(7),)).get)
    connection.close()
    row[-40] ^= 1
    change_rows(path, "UPDATE entries SET row = ? WHERE key = ?", bytes(row), key_of(7))
    assert found(store, 7) is None
    store.flush()
    stats = store.stats()
    assert (stats.integrity_failures, stats.misses, stats.entries) == (1, 1, 19)
    assert (stats.hits, stats.errors) == (0, 0)


@pytest.mark.parametrize("row", [5, "text", b""], ids=["number", "text", "empty"])
def test_a_row_that_is_no_entry_at_all_is_a_miss_and_removed(
    opened: Opened, path: Path, row: object
) -> None:
    store = filled(opened())
    change_rows(path, "UPDATE entries SET row = ?", row)
    assert found(store, 7) is None
    assert store.list(now_s=NOW_S, limit=100) == []
    store.flush()
    assert (store.stats().entries, store.stats().integrity_failures) == (0, 20)


def test_the_row_of_another_key_is_a_miss(opened: Opened, path: Path) -> None:
    store = filled(opened())
    swap = "UPDATE entries SET row = (SELECT row FROM entries WHERE key = ?) WHERE key = ?"
    change_rows(path, swap, key_of(3), key_of(7))
    assert found(store, 7) is None
    assert found(store, 3) == entry_of(3)
    assert store.stats().integrity_failures == 1


def test_a_row_that_did_not_verify_does_not_take_its_successor_along(
    opened: Opened, path: Path
) -> None:
    store = filled(opened())
    change_rows(path, "UPDATE entries SET row = x'00' WHERE key = ?", key_of(7))
    assert found(store, 7) is None
    store.put(entry_of(7, b"new"), NOW_S)
    store.flush()
    assert found(store, 7) == entry_of(7, b"new")


# Disks that cannot be written or reached.


@pytest.mark.parametrize("kind", ["missing folder", "a file for a folder", "a folder for a file"])
def test_without_a_usable_place_the_store_starts_and_every_get_is_a_miss(
    opened: Opened, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "place"
    path = place / "cache.db"
    if kind == "a file for a folder":
        place.write_text("")
    if kind == "a folder for a file":
        path.mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        store = opened(at=path)
        store.put(entry_of(), NOW_S)
        store.flush()
        assert [found(store, number) for number in (1, 2, 3)] == [None] * 3
        assert store.remove(now_s=NOW_S) == 0
        assert store.list(now_s=NOW_S, limit=9) == []
    stats = store.stats()
    assert (stats.hits, stats.misses, stats.entries) == (0, 3, 0)
    assert stats.errors >= 5
    assert len([r for r in caplog.records if "kept in memory only" in r.message]) == 1


def test_a_place_that_becomes_usable_is_used_after_thirty_seconds(
    opened: Opened, tmp_path: Path, clock: FakeClock
) -> None:
    store = opened(at=tmp_path / "later" / "cache.db")
    store.put(entry_of(), NOW_S)
    store.flush()
    (tmp_path / "later").mkdir()
    clock.advance(29.9)
    filled(store)
    assert found(store, 7) is None
    clock.advance(0.2)
    assert found(filled(store), 7) == entry_of(7)
