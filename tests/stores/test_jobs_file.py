"""What is opened as a file of jobs, and what is refused with what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from stores.jobfiles import look, made

from headgate.errors import ConfigError
from headgate.stores.jobs import JobsFile
from headgate.stores.jobs_file import APPLICATION_ID, JOBS, SCHEMA_VERSION
from headgate.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        JobsFile(path, FakeClock())
    (problem,) = caught.value.problems
    assert problem.key == "batch.jobs.path"
    return problem.message


def test_the_file_is_marked_private_and_every_commit_is_on_the_disk(path: Path) -> None:
    connection = JOBS.open_checked(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert connection.pragma("application_id") == APPLICATION_ID
    assert connection.pragma("user_version") == SCHEMA_VERSION
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    connection.close()


def test_what_is_damaged_stays_as_it_is_and_says_what_to_do(path: Path) -> None:
    with JobsFile(path, FakeClock()) as store:
        made(store, [])
        file = store.add_file("acme", "batch", "a", [b"a"])
    content = bytearray(path.read_bytes())
    content[8192:16384] = os.urandom(8192)
    path.write_bytes(content)
    message = refusal(path)
    assert "is damaged" in message
    assert "Restore it from a backup" in message
    assert "sqlite3 jobs.db .recover" in message
    assert "is billed and not fetched" in message
    assert path.read_bytes() == content
    assert (path.with_name("jobs.db-files") / file.id).read_bytes() == b"a"


def test_another_version_and_another_program_are_told_apart(path: Path) -> None:
    JobsFile(path, FakeClock()).close()
    look(path, "PRAGMA user_version = 99")
    assert f"its schema is 99, this program's is {SCHEMA_VERSION}" in refusal(path)
    look(path, "PRAGMA application_id = 7")
    assert "a database of something else" in refusal(path)
