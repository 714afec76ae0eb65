"""The disk tier under faults: processes killed, disks full, files broken, clocks wrong.

What any store promises is asked in tests/contracts/test_stores.py.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from stores.disk_process import numbered
from stores.samples import NOW_S, SCOPE, entry_of, key_of

from headgate.stores.sqlite import SqliteStore
from headgate.stores.sqlite_file import APPLICATION_ID
from headgate.testing import FakeClock
from headgate.types import Entry, Selection

PROCESS = Path(__file__).with_name("disk_process.py")
Opened = Callable[..., SqliteStore]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def opened(path: Path, clock: FakeClock) -> Iterator[Opened]:
    stores = []

    def open_store(bytes_max: int = 10_000_000, at: Path = path) -> SqliteStore:
        stores.append(SqliteStore(at, bytes_max, clock))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def found(store: SqliteStore, number: int = 1, now_s: float = NOW_S) -> Entry | None:
    return store.get(key_of(number), SCOPE, now_s)


def filled(store: SqliteStore, count: int = 20) -> SqliteStore:
    for number in range(count):
        store.put(entry_of(number), NOW_S)
    store.flush()
    return store


def started(*arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROCESS.parents[1])}
    command = [*prefix, sys.executable, str(PROCESS), *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    told: dict[str, Any] = json.loads(printed)
    return told


def check(path: Path) -> str:
    """What SQLite itself says about the file."""
    connection = apsw.Connection(str(path))
    try:
        return str(connection.execute("PRAGMA integrity_check").get)
    finally:
        connection.close()


def set_aside(path: Path) -> list[str]:
    return sorted(f.name for f in path.parent.iterdir() if ".corrupt-" in f.name)


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


def change_rows(path: Path, sql: str, *values: object) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql, values)
    connection.close()


def test_a_changed_row_is_a_miss_is_removed_and_counted(opened: Opened, path: Path) -> None:
    store = filled(opened())
    row = bytearray(entry_of(7).content)
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


@pytest.mark.parametrize("row", [None, 5, "text", b""], ids=["null", "number", "text", "empty"])
def test_a_row_that_is_no_entry_at_all_is_a_miss_and_removed(
    opened: Opened, path: Path, row: object
) -> None:
    store = filled(opened())
    change_rows(path, "PRAGMA ignore_check_constraints = 1")
    change_rows(path, "UPDATE OR IGNORE entries SET row = coalesce(?, x'00')", row)
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


# Files that are not what was written.


def test_a_changed_byte_anywhere_in_the_file_never_gives_a_wrong_answer(
    tmp_path: Path, clock: FakeClock
) -> None:
    original = tmp_path / "original.db"
    filled(SqliteStore(original, 10_000_000, clock), 30).close()
    raw = original.read_bytes()
    answered = 0
    for place in range(0, len(raw), len(raw) // 180):
        path = tmp_path / str(place) / "cache.db"
        path.parent.mkdir()
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0xFF]) + raw[place + 1 :])
        store = SqliteStore(path, 10_000_000, clock)
        for number in range(30):
            entry = found(store, number)
            assert entry in (None, entry_of(number))
            answered += entry is not None
        store.put(entry_of(100), NOW_S)
        store.remove(Selection(model="gpt-4o", tag="nothing"), now_s=NOW_S)
        assert found(store, 100) == entry_of(100)
        store.close()
        shutil.rmtree(path.parent)
    assert answered > 1000


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
    assert len([r for r in caplog.records if "answers are not kept" in r.message]) == 1


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


def test_when_writing_fails_reads_go_on_and_writes_come_back(tmp_path: Path) -> None:
    told = ended(started("fill", tmp_path / "cache.db", 3_000_000))
    assert 0 in told["seen"], "written before the limit"
    assert 10 < len(told["seen"]) < 300
    assert told["errors"] >= 100
    assert told["integrity_failures"] == 0
    assert check(tmp_path / "cache.db") == "ok"
    # The same without a limit: the file is whole and takes entries again.
    told = ended(started("fill", tmp_path / "cache.db", 0))
    assert told["seen"] == list(range(400))
    assert told["errors"] == 0


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    """A file system of 3 MB, in a mount namespace of its own. Where the kernel does not give one
    to this user, a limit on the size of files stands for it."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = f"mount -t tmpfs -o size=3m none {folder}"
    probe = ["unshare", "-rm", "sh", "-c", mount]
    if shutil.which("unshare") and subprocess.run(probe, capture_output=True).returncode == 0:
        prefix = ("unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh")
        told = ended(started("fill", folder / "cache.db", 0, prefix=prefix))
    else:
        told = ended(started("fill", folder / "cache.db", 2_000_000))
    assert 0 in told["seen"]
    assert 10 < len(told["seen"]) < 200
    assert told["errors"] >= 100
    assert told["integrity_failures"] == 0


# Processes.


def test_twenty_killed_writers_lose_nothing_that_was_flushed_and_tear_nothing(
    path: Path, clock: FakeClock
) -> None:
    for seed in range(20):
        process = started("write", path, seed)
        assert process.stdout is not None
        flushed: list[int] = []
        for _ in range(1 + seed % 4):
            flushed += map(int, process.stdout.readline().split())
        time.sleep(0.003 * (seed % 7))
        process.kill()
        flushed += map(int, process.communicate()[0].split())
        assert check(path) == "ok"
        store = SqliteStore(path, 5_000_000, clock)
        listed = store.list(now_s=NOW_S, limit=10_000)
        stats = store.stats()
        store.close()
        contents = {int.from_bytes(e.key, "big"): e.content for e in listed}
        assert set(flushed[-100:]) <= set(contents)
        assert all(numbered(number).content == contents[number] for number in contents)
        assert (stats.integrity_failures, stats.errors) == (0, 0)
        assert stats.entries == len(listed)
        assert stats.size_bytes <= 5_000_000
    assert set_aside(path) == []


def test_several_processes_write_read_and_remove_in_one_file(path: Path, opened: Opened) -> None:
    processes = [started("share", path, seed, 400) for seed in range(4)]
    for told in map(ended, processes):
        assert told["wrong"] == told["errors"] == told["integrity_failures"] == 0
        assert told["hits"] > 0
        assert told["size_bytes"] <= 2_000_000
    assert check(path) == "ok"
    store = opened()
    listed = store.list(now_s=NOW_S, limit=1000)
    assert store.stats().entries == len(listed) > 0


def test_a_file_set_aside_by_one_process_is_left_by_the_others_too(
    path: Path, opened: Opened
) -> None:
    process = started("write", path, 1)
    assert process.stdout is not None
    process.stdout.readline()
    path.rename(path.with_name("cache.db.corrupt-1"))
    for suffix in ("-wal", "-shm"):
        path.with_name(f"cache.db{suffix}").rename(path.with_name(f"cache.db.corrupt-1{suffix}"))
    lines = [process.stdout.readline() for _ in range(10)]
    process.kill()
    process.communicate()
    store = opened()
    assert found(store, int(lines[-1].split()[-1])) is not None
    assert check(path) == "ok"
