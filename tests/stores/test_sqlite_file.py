"""The file of the disk tier: lending connections, retrying, setting aside, locking the folder."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from headgate.errors import StoreError
from headgate.stores import sqlite_rows
from headgate.stores.sqlite_file import (
    APPLICATION_ID,
    CONNECTIONS_MAX,
    RETRY_AFTER_S,
    SCHEMA_VERSION,
    DatabaseFile,
    FileSetAside,
)
from headgate.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def file(path: Path, clock: FakeClock) -> Iterator[DatabaseFile]:
    file = DatabaseFile(path, clock)
    yield file
    file.close()


def use(file: DatabaseFile) -> tuple[int, int]:
    with file.connection() as connection:
        return sqlite_rows.totals(connection)


def run(file: DatabaseFile, *statements: str) -> apsw.Connection:
    """Runs the statements on one connection; then looks at the totals."""
    with file.connection() as connection:
        for statement in statements:
            connection.execute(statement)
        sqlite_rows.totals(connection)
        return connection


def test_the_settings_are_those_of_the_decision(file: DatabaseFile) -> None:
    wanted = {
        "journal_mode": "wal",
        "synchronous": 1,
        "busy_timeout": 5000,
        "page_size": 8192,
        "wal_autocheckpoint": 500,
        "journal_size_limit": 16_000_000,
        "mmap_size": 0,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "application_id": APPLICATION_ID,
        "user_version": SCHEMA_VERSION,
    }
    for _ in range(2):
        with file.connection() as connection:
            assert {name: connection.pragma(name) for name in wanted} == wanted
        file = DatabaseFile(file.path, FakeClock())
    file.close()


def test_the_library_has_no_wal_reset_bug() -> None:
    # sqlite.org/wal.html#walresetbug: fixed in 3.51.3.
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


def test_a_connection_is_lent_again(file: DatabaseFile) -> None:
    with file.connection() as first:
        pass
    with file.connection() as second:
        assert second is first


def test_no_two_borrowers_have_the_same_connection(file: DatabaseFile) -> None:
    lent: set[int] = set()
    most = threading.Semaphore(CONNECTIONS_MAX)

    def borrow(_: int) -> None:
        with file.connection() as connection:
            assert most.acquire(blocking=False)
            assert id(connection) not in lent
            lent.add(id(connection))
            sqlite_rows.totals(connection)
            lent.remove(id(connection))
            most.release()

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(borrow, range(400)))


def test_a_connection_that_failed_is_not_lent_again(file: DatabaseFile) -> None:
    with file.connection() as first:
        first.pragma("query_only", True)
    with pytest.raises(StoreError, match="readonly"):
        run(file, "DELETE FROM entries")
    assert run(file, "DELETE FROM entries") is not first


def test_a_failure_rolls_back(file: DatabaseFile) -> None:
    change = "UPDATE totals SET entries = 7"
    with pytest.raises(StoreError, match="readonly"):
        run(file, "BEGIN IMMEDIATE", change, "PRAGMA query_only = 1", change)
    assert use(file) == (0, 0)


def test_after_a_failure_to_open_thirty_seconds_pass(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    file = DatabaseFile(tmp_path / "missing" / "cache.db", clock)
    with pytest.raises(StoreError, match="cannot open"):
        use(file)
    (tmp_path / "missing").mkdir()
    clock.advance(RETRY_AFTER_S - 0.1)
    with pytest.raises(StoreError, match="a moment ago"):
        use(file)
    clock.advance(0.2)
    assert use(file) == (0, 0)
    file.close()
    assert len([one for one in caplog.records if "the disk tier is off" in one.message]) == 1


def test_a_broken_file_is_renamed_together_with_its_log(file: DatabaseFile, path: Path) -> None:
    with file.connection() as other:
        sqlite_rows.totals(other)
        with pytest.raises(FileSetAside):
            run(file, "DELETE FROM totals")
        aside = f"cache.db.corrupt-{int(FakeClock().epoch())}"
        names = {f.name for f in path.parent.iterdir()}
        assert names == {aside, f"{aside}-wal", f"{aside}-shm"}
    assert use(file) == (0, 0)


def test_only_the_first_who_finds_a_file_broken_sets_it_aside(
    file: DatabaseFile, path: Path
) -> None:
    def found_broken_twice() -> None:
        with file.connection() as slow:
            sqlite_rows.totals(slow)
            with pytest.raises(FileSetAside):
                run(file, "SELECT * FROM no_such_table")
            assert use(file) == (0, 0)
            slow.execute("SELECT * FROM no_such_table")

    with pytest.raises(FileSetAside):
        found_broken_twice()
    assert run(file) is not None
    aside = [f.name for f in path.parent.iterdir() if ".corrupt-" in f.name]
    assert len([name for name in aside if not name.endswith(("-wal", "-shm"))]) == 1


def test_closing_a_connection_to_a_renamed_file_leaves_the_new_log_alone(
    file: DatabaseFile, path: Path
) -> None:
    with file.connection() as old:
        for suffix in ("-wal", "-shm", ""):
            os.rename(f"{path}{suffix}", f"{path}.old{suffix}")
        with file.connection() as new:
            new.execute("UPDATE totals SET entries = 5")
            old.close()
            assert os.path.exists(f"{path}-wal")
            assert os.stat(f"{path}-wal").st_size > 0
    assert use(file) == (5, 0)


def test_a_log_left_by_a_deleted_file_does_not_enter_the_new_one(
    file: DatabaseFile, path: Path, clock: FakeClock
) -> None:
    with file.connection() as connection:
        connection.execute("UPDATE totals SET entries = 5")
        path.unlink()
        other = DatabaseFile(path, clock)
        assert use(other) == (0, 0)
        connection.execute("UPDATE totals SET entries = 6")
        assert use(other) == (0, 0)
        other.close()


def test_opening_waits_for_who_holds_the_folder(file: DatabaseFile, path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(use, file)
        assert not path.exists()
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        assert opening.result(timeout=60) == (0, 0)
    os.close(descriptor)


def test_a_symbolic_link_is_followed(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "cache.db")
    file = DatabaseFile(tmp_path / "link.db", clock)
    use(file)
    assert file.path == tmp_path / "real" / "cache.db"
    file.close()


def test_after_closing_nothing_is_lent(file: DatabaseFile) -> None:
    with file.connection() as lent:
        file.close()
        file.close()
        assert sqlite_rows.totals(lent) == (0, 0)
    with pytest.raises(StoreError, match="closed"):
        use(file)
    with pytest.raises(apsw.ConnectionClosedError):
        lent.execute("SELECT 1")
