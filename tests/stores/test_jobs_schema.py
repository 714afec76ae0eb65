"""What no statement may do to the tables of jobs, whoever sends it: raw SQL meets the triggers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import apsw
import pytest

from headgate.jobs.states import ITEM_STATES, JOB_ENDS, TERMINAL, may_follow
from headgate.stores.jobs_file import JOBS

TERMINALS = sorted(TERMINAL)


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[apsw.Connection]:
    connection = JOBS.open_checked(tmp_path / "jobs.db")
    connection.execute(
        "INSERT INTO job(number, id, tenant, dialect, endpoint, input_file_id, created_s,"
        " deadline_s, state, options, errors, fence)"
        " VALUES (1, 'job_1', '', 'openai', '/v1/x', 'f', 0, 1, 'in_progress', x'', x'', 5)"
    )
    yield connection
    connection.close()


def an_item(raw: apsw.Connection, line_no: int, state: str = "queued") -> None:
    raw.execute(
        "INSERT INTO item(job, line_no, custom_id, model, request_digest, byte_offset, byte_length,"
        " tokens_estimated, leader, state) VALUES (1, ?, ?, 'm', x'00', 0, 1, 1, 0, ?)",
        (line_no, f"line-{line_no}", state),
    )


def test_an_item_takes_the_steps_of_the_table_and_no_others(raw: apsw.Connection) -> None:
    taken = set()
    for number, (state, following) in enumerate(product(ITEM_STATES, ITEM_STATES)):
        an_item(raw, number, state)
        try:
            raw.execute("UPDATE item SET state = ? WHERE line_no = ?", (following, number))
        except apsw.ConstraintError:
            assert raw.execute("SELECT state FROM item WHERE line_no = ?", (number,)).get == state
        else:
            taken.add((state, following))
    # To stay what it is is no step, and an open item may.
    staying = {(state, state) for state in ITEM_STATES if state not in TERMINAL}
    steps = {pair for pair in product(ITEM_STATES, ITEM_STATES) if may_follow(*pair)}
    assert taken == steps | staying


@pytest.mark.parametrize("state", TERMINALS)
@pytest.mark.parametrize(
    "change", ["state = 'queued'", "attempt = 9", "shard = 4", "model = 'other'"]
)
def test_a_terminal_item_never_changes(raw: apsw.Connection, state: str, change: str) -> None:
    an_item(raw, 1, state)
    before = raw.execute("SELECT * FROM item").fetchall()
    with pytest.raises(apsw.ConstraintError, match=r"never changes|may not take this step"):
        raw.execute(f"UPDATE item SET {change}")
    assert raw.execute("SELECT * FROM item").fetchall() == before


@pytest.mark.parametrize(
    "change", ["custom_id = 'x'", "line_no = 9", "request_digest = x'01'", "leader = 3", "job = 2"]
)
def test_an_item_keeps_its_identity(raw: apsw.Connection, change: str) -> None:
    an_item(raw, 1)
    with pytest.raises(apsw.ConstraintError, match="keeps its identity"):
        raw.execute(f"UPDATE item SET {change}")


def test_states_that_nobody_knows_are_refused(raw: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError):
        an_item(raw, 1, "done")


@pytest.mark.parametrize("table", ["result", "ledger"])
def test_there_is_one_row_for_a_line_and_it_stays(raw: apsw.Connection, table: str) -> None:
    values = {
        "result": "(1, 1, 200, NULL, '', '')",
        "ledger": "(1, 1, 5, 0, 0, 0, 1, 1, 0, 0, 0, 0, 't', 'live')",
    }[table]
    raw.execute(f"INSERT INTO {table} VALUES {values}")
    for statement in [
        f"INSERT INTO {table} VALUES {values}",
        f"UPDATE {table} SET line_no = 2",
        f"DELETE FROM {table}",
    ]:
        with pytest.raises(apsw.ConstraintError):
            raw.execute(statement)
    assert raw.execute(f"SELECT count(*) FROM {table}").get == 1


def test_rows_go_with_their_job_only(raw: apsw.Connection) -> None:
    an_item(raw, 1)
    raw.execute("INSERT INTO result VALUES (1, 1, 200, NULL, '', '')")
    with pytest.raises(apsw.ConstraintError, match="goes with its job only"):
        raw.execute("DELETE FROM item")
    raw.execute("DELETE FROM job")
    raw.execute("DELETE FROM item")
    raw.execute("DELETE FROM result")


def test_a_fence_never_falls(raw: apsw.Connection) -> None:
    with pytest.raises(apsw.ConstraintError, match="never falls"):
        raw.execute("UPDATE job SET fence = 4")
    raw.execute("UPDATE job SET fence = 6")


@pytest.mark.parametrize("end", sorted(JOB_ENDS))
def test_a_job_that_has_ended_stays_what_it_is(raw: apsw.Connection, end: str) -> None:
    raw.execute("UPDATE job SET state = ?", (end,))
    with pytest.raises(apsw.ConstraintError, match="stays what it is"):
        raw.execute("UPDATE job SET state = 'in_progress'")


def test_the_tally_never_falls_below_zero(raw: apsw.Connection) -> None:
    raw.execute("INSERT INTO tally VALUES (1, 'queued', 1)")
    with pytest.raises(apsw.ConstraintError):
        raw.execute("UPDATE tally SET items = items - 2")
