"""The ledger's SQL: pages, sums by day, bounds."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest
from stores.ledgers import DAY_S, a_row

from headgate.core.totals import OTHER
from headgate.stores import ledger_rows
from headgate.stores.ledger_rows import NAME_MAX_CHARS, day_sums, insert, prune, select


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    connection.execute(ledger_rows.SCHEMA)
    yield connection
    connection.close()


def test_more_rows_than_a_page_come_in_their_order(connection: apsw.Connection) -> None:
    rows = [a_row(number) for number in range(2500)]
    insert(connection, rows)
    assert list(select(connection, 0.0, 1.0)) == rows


def test_long_names_are_cut(connection: apsw.Connection) -> None:
    insert(connection, [a_row(model="x" * 10_000)])
    (booked,) = select(connection, 0.0, 1.0)
    assert booked.model == "x" * NAME_MAX_CHARS


def test_rows_go_a_step_at_a_time_and_nothing_of_the_sums_is_lost(
    connection: apsw.Connection,
) -> None:
    insert(connection, [
        a_row(n, n % 3 * DAY_S, "ab"[n % 2], cost_nanos=n if n % 5 else None,
              is_estimated=n % 4 == 0)
        for n in range(200)
    ])  # fmt: skip
    before = day_sums(connection)
    assert [prune(connection, 1e9, 1000, 80) for _ in range(4)] == [80, 80, 40, 0]
    assert list(select(connection, 0.0, 1e12)) == []
    assert day_sums(connection) == before
    assert {(one.day, one.model) for one in before} == {
        (f"1970-01-0{day}", model) for day in (1, 2, 3) for model in "ab"
    }


def test_nothing_goes_before_its_time(connection: apsw.Connection) -> None:
    insert(connection, [a_row(n, 100.0) for n in range(10)])
    assert prune(connection, 100.0, 10, 1000) == 0
    assert prune(connection, 100.0, 7, 1000) == 3


def test_names_without_end_share_a_sum(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_rows, "DAY_MODELS_MAX", 3)
    insert(connection, [a_row(1, model=f"m{n}") for n in range(6)])
    prune(connection, 1e9, 1000, 1000)
    assert [(one.model, one.amount.calls) for one in day_sums(connection)] == [
        ("m0", 1), ("m1", 1), ("m2", 1), (OTHER, 3),
    ]  # fmt: skip
