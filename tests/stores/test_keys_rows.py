"""The tables of client keys."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring import a_record

from headgate.core.client import KeyRecord
from headgate.stores import keys_rows

NUMBER = st.none() | st.integers(0, 10**18)
MOMENT = st.none() | st.floats(0, 1e11)


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    opened = made()
    yield opened
    opened.close()


def made() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute(keys_rows.SCHEMA)
    return connection


@given(
    st.builds(
        KeyRecord, id=st.text("ab", min_size=1), family=st.text("ab"), tenant=st.text("ab'\";"),
        mac=st.binary(max_size=40),
        models=st.lists(st.text(st.characters(codec="utf-8")), max_size=3).map(tuple),
        created_s=st.floats(0, 1e11), requests_per_min=NUMBER, tokens_per_min=NUMBER,
        day_nanos=NUMBER, month_nanos=NUMBER, expires_s=MOMENT, revoked_s=MOMENT,
    )
)  # fmt: skip
def test_a_record_comes_back_as_it_was(record: KeyRecord) -> None:
    connection = made()
    keys_rows.insert(connection, record)
    assert keys_rows.records(connection) == [record]
    connection.close()


def test_an_id_is_given_once(connection: apsw.Connection) -> None:
    keys_rows.insert(connection, a_record(id="a"))
    with pytest.raises(apsw.ConstraintError):
        keys_rows.insert(connection, a_record(id="a"))


def test_names_are_values_and_never_sql(connection: apsw.Connection) -> None:
    nasty = "x' OR '1'='1'; DROP TABLE keys; --"
    keys_rows.insert(connection, a_record(id=nasty))
    assert not keys_rows.end(connection, "x", revoked_s=1.0)
    assert keys_rows.end(connection, nasty, revoked_s=1.0)
    assert len(keys_rows.records(connection)) == 1


def test_the_latest_periods_are_kept(connection: apsw.Connection) -> None:
    for number in range(keys_rows.SPENT_KEPT + 5):
        keys_rows.spend(connection, "f", {f"{number:04d}": 1})
        keys_rows.spend(connection, "g", {"0000": 1})
    sums = keys_rows.spent(connection)
    assert min(sums["f"]) == "0005"
    assert len(sums["f"]) == keys_rows.SPENT_KEPT
    assert sums["g"] == {"0000": keys_rows.SPENT_KEPT + 5}


def test_the_check_of_the_pepper_is_kept_once(connection: apsw.Connection) -> None:
    assert keys_rows.pepper_check(connection) is None
    keys_rows.keep_pepper_check(connection, b"c" * 32)
    assert keys_rows.pepper_check(connection) == b"c" * 32
