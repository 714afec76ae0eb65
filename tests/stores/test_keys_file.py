"""What is opened as a file of client keys, what is refused, and the pepper beside it."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from keyring import a_record

from headgate.errors import ConfigError
from headgate.stores.keys import KeyStore
from headgate.stores.keys_file import (
    KEYS,
    check_of,
    is_pepper,
    mac_of,
    pepper_file,
    read_pepper,
)

PEPPER = "a configured pepper, long enough"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        KEYS.open_checked(path)
    (problem,) = caught.value.problems
    assert problem.key == "keys.path"
    return problem.message


def test_a_file_is_made_and_opened_again(path: Path) -> None:
    for _ in range(2):
        KEYS.open_checked(path).close()


def test_something_else_is_left_alone(path: Path) -> None:
    path.write_text("not a database at all, and not empty either" * 100)
    before = path.read_bytes()
    assert "damaged" in refusal(path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE t(x)")
    other.close()
    assert "something else" in refusal(path)


def test_another_version_is_told_from_this_one(path: Path) -> None:
    connection = KEYS.open_checked(path)
    connection.pragma("user_version", 99)
    connection.close()
    assert "another version" in refusal(path)


def test_a_damaged_file_is_refused_with_what_to_do(path: Path) -> None:
    store = KeyStore(path)
    for number in range(200):
        store.make(a_record(f"t{number}"))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 : len(content) // 2] = b"\xa5" * (len(content) // 2 - 4096)
    path.write_bytes(content)
    message = refusal(path)
    assert "damaged" in message
    assert "backup" in message


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "absent" in refusal(tmp_path / "absent" / "keys.db")


def test_the_pepper_is_made_once(path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        read_pepper(path, "")
    pepper = read_pepper(path, "", make=True)
    assert read_pepper(path, "", make=True) == read_pepper(path, "") == pepper
    assert len(pepper) == 32


def test_a_configured_pepper_needs_no_file(path: Path) -> None:
    assert read_pepper(path, PEPPER, make=True) == read_pepper(path, PEPPER)
    assert not pepper_file(path).exists()
    assert read_pepper(path, PEPPER) != read_pepper(path, f"{PEPPER}.")


@pytest.mark.parametrize("content", ["", "zz" * 32, "00" * 31, "00" * 33, "\u00e9" * 10])
def test_a_pepper_that_is_not_whole_is_refused_and_not_shown(path: Path, content: str) -> None:
    pepper_file(path).write_text(content, "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_pepper(path, "", make=True)
    assert "backup" in caught.value.message
    assert not content or content not in caught.value.message


def test_a_short_pepper_is_refused_and_not_shown(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_pepper(path, "tr0ub4dor")
    assert "too short" in caught.value.message
    assert "tr0ub4dor" not in caught.value.message


def test_a_check_tells_one_pepper_from_another_and_is_no_digest_of_a_key() -> None:
    one, other = b"1" * 32, b"2" * 32
    assert is_pepper(one, check_of(one))
    assert not is_pepper(one, check_of(other))
    assert is_pepper(one, None)
    assert mac_of(one, b"hg_a_b") != mac_of(other, b"hg_a_b")
