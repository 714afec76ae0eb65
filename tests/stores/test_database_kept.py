"""Files that are never replaced: what is said of one that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from headgate.errors import ConfigError, StoreError
from headgate.stores.database import Form
from headgate.stores.database_kept import KeptFile

FORM = Form(0x48475458, 3, "CREATE TABLE things (name TEXT)")
THINGS = KeptFile(
    FORM, "things.path", "box of things", "Restore {name} from a backup; or mend {name}.recovered"
)
Opening = Callable[[Path], apsw.Connection]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "th{ng}s.db"


def refusal(opened: Opening, path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        opened(path)
    (problem,) = caught.value.problems
    assert problem.key == "things.path"
    return problem.message


def filled(path: Path) -> None:
    connection = THINGS.open_checked(path)
    connection.executemany("INSERT INTO things VALUES (?)", [("x" * 500,)] * 100)
    connection.close()


def test_a_file_is_made_checked_and_read(path: Path) -> None:
    filled(path)
    for opened in (THINGS.open_checked, THINGS.open_again, THINGS.open_to_read):
        connection = opened(path)
        assert connection.execute("SELECT count(*) FROM things").get == 100
        connection.close()


def test_who_reads_changes_nothing_and_makes_no_file(path: Path) -> None:
    assert refusal(THINGS.open_to_read, path) == f"there is no box of things at {path}"
    assert not path.exists()
    filled(path)
    connection = THINGS.open_to_read(path)
    with pytest.raises(apsw.ReadOnlyError):
        connection.execute("DELETE FROM things")
    connection.close()


@pytest.mark.parametrize("content", [b"no database at all, but long enough" * 100, b"SQLite"])
def test_what_is_no_database_stays_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for opened in (THINGS.open_checked, THINGS.open_to_read):
        message = refusal(opened, path)
        assert message.startswith(f"{path} is damaged (")
        assert message.endswith(f"Restore {path.name} from a backup; or mend {path.name}.recovered")
    assert path.read_bytes() == content
    with pytest.raises(StoreError):
        THINGS.open_again(path)


def test_a_flaw_is_looked_for_at_the_start_only(path: Path) -> None:
    filled(path)
    content = bytearray(path.read_bytes())
    content[-4096:] = b"\xa5" * 4096
    path.write_bytes(content)
    assert "is damaged" in refusal(THINGS.open_checked, path)
    assert path.read_bytes() == content
    THINGS.open_again(path).close()


def test_a_database_of_something_else_is_told_from_one_of_another_version(path: Path) -> None:
    filled(path)
    for mark, said in [
        ("user_version", "its schema is 99, this program's is 3; run that version"),
        ("application_id", "is a database of something else"),
    ]:
        other = apsw.Connection(str(path))
        other.pragma(mark, 99)
        other.close()
        assert said in refusal(THINGS.open_checked, path)
        assert said in refusal(THINGS.open_to_read, path)
        with pytest.raises(StoreError, match="not written by this version"):
            THINGS.open_again(path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "things.db"
    message = refusal(THINGS.open_checked, path)
    assert "cannot be opened" in message
    assert "absent" in message
    assert message.endswith("; free it, or name another file")
    with pytest.raises(StoreError):
        THINGS.open_again(path)
