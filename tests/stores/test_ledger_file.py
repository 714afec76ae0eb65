"""What is opened as a ledger, and what is refused with what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import apsw
import pytest
from stores.ledgers import a_ledger, a_row, written

from headgate.errors import ConfigError, StoreError
from headgate.stores.ledger_file import LEDGER, SCHEMA_VERSION
from headgate.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def filled(path: Path, count: int = 300) -> None:
    ledger = a_ledger(path, FakeClock())
    ledger.append([a_row(number) for number in range(count)])
    ledger.close()


def test_a_new_file_is_for_its_user_only_and_every_commit_is_on_the_disk(path: Path) -> None:
    connection = LEDGER.open_checked(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    connection.close()


def test_what_is_damaged_is_refused_with_what_to_do_and_stays_as_it_is(path: Path) -> None:
    filled(path)
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 3] = os.urandom(4096)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is damaged (?s:.*) Restore it .*recover"):
        LEDGER.open_checked(path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir() if "corrupt" in file.name] == []


@pytest.mark.parametrize("content", [b"no database at all, but long enough" * 100, b"SQLite"])
def test_what_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged"):
        LEDGER.open_checked(path)


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE t(x)")
    other.close()
    with pytest.raises(ConfigError, match="a database of something else"):
        LEDGER.open_checked(path)


def test_another_version_is_refused_and_both_are_named(path: Path) -> None:
    filled(path, 1)
    other = apsw.Connection(str(path))
    other.pragma("user_version", 99)
    other.close()
    with pytest.raises(ConfigError, match=f"its schema is 99, this program's is {SCHEMA_VERSION}"):
        LEDGER.open_checked(path)
    with pytest.raises(ConfigError, match="99"):
        LEDGER.open_to_read(path)
    with pytest.raises(StoreError):
        LEDGER.open_again(path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        LEDGER.open_checked(tmp_path / "absent" / "ledger.db")
    with pytest.raises(ConfigError, match="there is no ledger"):
        LEDGER.open_to_read(tmp_path / "ledger.db")


def test_who_reads_changes_nothing(path: Path) -> None:
    filled(path, 1)
    connection = LEDGER.open_to_read(path)
    with pytest.raises(apsw.ReadOnlyError):
        connection.execute("DELETE FROM booked")
    connection.close()
    assert len(written(path)) == 1
