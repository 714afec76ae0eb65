"""Opening an SQLite file: its settings and marks, who may read it, and one at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from headgate.stores.database import (
    BROKEN,
    Form,
    OtherFileError,
    closed_on_failure,
    compare,
    create_private,
    flaw_of,
    folder_locked,
    identity_of,
    open_file,
    opening,
)

FORM = Form(0x48475458, 3, "CREATE TABLE things (name TEXT); CREATE TABLE others (name TEXT)")
SMALL = Form(0x48475459, 1, FORM.schema, synchronous="NORMAL", page_bytes=1024)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "things.db"


@pytest.mark.parametrize("form", [FORM, SMALL])
def test_every_connection_has_the_settings_and_the_file_its_marks(path: Path, form: Form) -> None:
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2 if form is FORM else 1,
        "page_size": form.page_bytes,
        "busy_timeout": 5000,
        "wal_autocheckpoint": 500,
        "journal_size_limit": 16_000_000,
        "mmap_size": 0,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "application_id": form.application,
        "user_version": form.version,
    }
    for _ in range(2):
        connection = open_file(path, form)
        assert {name: connection.pragma(name) for name in wanted} == wanted
        connection.execute("SELECT * FROM things, others")
        connection.close()


def test_the_file_and_its_companions_are_for_this_user_only(path: Path) -> None:
    connection = open_file(path, FORM)
    connection.execute("INSERT INTO things VALUES ('a')")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("things.db", "things.db-wal", "things.db-shm"), 0o600)
    connection.close()


def test_an_empty_file_that_lies_there_is_filled(path: Path) -> None:
    path.touch()
    open_file(path, FORM).close()
    assert path.read_bytes()[68:72] == b"HGTX"


@pytest.mark.parametrize(
    ("statement", "application", "version"),
    [
        ("CREATE TABLE t (x)", 0, 0),
        ("PRAGMA application_id = 7", 7, 0),
        ("PRAGMA user_version = 3", 0, 3),
    ],
)
def test_what_bears_other_marks_is_left_as_it_is(
    path: Path, statement: str, application: int, version: int
) -> None:
    other = apsw.Connection(str(path))
    other.execute(statement)
    other.close()
    content = path.read_bytes()
    with pytest.raises(OtherFileError, match="not written by this version") as caught:
        open_file(path, FORM)
    assert (caught.value.application, caught.value.version) == (application, version)
    assert path.read_bytes() == content


def test_another_version_of_ours_is_not_ours(path: Path) -> None:
    open_file(path, FORM).close()
    with pytest.raises(OtherFileError, match="version 3"):
        open_file(path, Form(FORM.application, 4, FORM.schema))


def test_what_is_no_database_is_broken(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough" * 100)
    with pytest.raises(BROKEN):
        open_file(path, FORM)


def test_a_flaw_is_found_wherever_it_is(path: Path) -> None:
    connection = open_file(path, FORM)
    connection.executemany("INSERT INTO others VALUES (?)", [("x" * 500,)] * 100)
    assert flaw_of(connection) is None
    connection.close()
    content = bytearray(path.read_bytes())
    content[-4096:] = b"\xa5" * 4096
    path.write_bytes(content)
    connection = open_file(path, FORM)
    assert flaw_of(connection)
    connection.close()


def test_tables_that_cannot_be_made_leave_nothing_behind(path: Path) -> None:
    with pytest.raises(apsw.SQLError):
        open_file(path, Form(FORM.application, 1, "CREATE TABLE things (name TEXT); no statement"))
    open_file(path, FORM).close()


def test_a_connection_is_open_after_the_block_and_closed_where_it_fails(path: Path) -> None:
    create_private(path)
    with opening(path) as kept:
        pass
    assert kept.execute("SELECT 1").get == 1
    with pytest.raises(ValueError, match="no"), closed_on_failure(kept):
        raise ValueError("no")
    with pytest.raises(apsw.ConnectionClosedError):
        kept.execute("SELECT 1")


def test_opening_makes_no_file(path: Path) -> None:
    with pytest.raises(apsw.CantOpenError), opening(path):
        pass
    assert not path.exists()


def test_marks_are_compared_without_changing_the_file(path: Path) -> None:
    open_file(path, FORM).close()
    with opening(path) as connection:
        connection.pragma("query_only", True)
        compare(connection, FORM)
        with pytest.raises(OtherFileError):
            compare(connection, SMALL)
    connection.close()


def test_a_new_file_takes_no_log_of_an_older_one(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).write_bytes(b"left by another")
    create_private(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    path.write_bytes(b"mine")
    create_private(path)
    assert path.read_bytes() == b"mine"


def test_a_file_is_told_from_its_successor(path: Path) -> None:
    assert identity_of(path) is None
    path.touch()
    first = identity_of(path)
    assert first == identity_of(path)
    path.rename(path.with_name("older.db"))
    path.touch()
    assert identity_of(path) not in {first, None}


def test_one_at_a_time_has_the_folder(path: Path) -> None:
    def enter() -> bool:
        with folder_locked(path.parent):
            return True

    descriptor = os.open(path.parent, os.O_RDONLY)
    with ThreadPoolExecutor(1) as threads:
        with folder_locked(path.parent):
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entering = threads.submit(enter)
            assert not entering.done()
        assert entering.result(timeout=60)
    os.close(descriptor)


def test_the_folder_is_free_after_a_failure(path: Path) -> None:
    with pytest.raises(ValueError, match="no"), folder_locked(path.parent):
        raise ValueError("no")
    with folder_locked(path.parent):
        pass
    with pytest.raises(FileNotFoundError), folder_locked(path.parent / "absent"):
        pass
