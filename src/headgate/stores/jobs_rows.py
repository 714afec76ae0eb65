"""Rows of jobs, their leases and their counts. SQL stands here; every value is a parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import apsw
import msgspec

from headgate.errors import StoreError
from headgate.jobs.base import Fenced, InUse
from headgate.jobs.model import Job, JobOptions, Lease, Line, LineProblem, Settled, Waiting
from headgate.jobs.states import CANCELLING, JOB_ENDS
from headgate.stores.jobs_schema import STAGED

_OPTIONS = msgspec.json.Decoder(JobOptions)
_ERRORS = msgspec.json.Decoder(tuple[LineProblem, ...])


def insert(connection: apsw.Connection, job: Job) -> int:
    """Adds a job; its number. Raises StoreError for an id that is taken."""
    try:
        row: Any = connection.execute(
            "INSERT INTO job(id, tenant, dialect, endpoint, input_file_id, created_s, deadline_s,"
            " state, options, errors, ended_s) VALUES (?,?,?,?,?,?,?,?,?,?,?) RETURNING number",
            (job.id, job.tenant, job.options.dialect, job.endpoint, job.input_file_id,
             job.created_s, job.deadline_s, job.state, msgspec.json.encode(job.options),
             msgspec.json.encode(job.errors), job.ended_s),
        ).fetchall()  # fmt: skip
    except apsw.ConstraintError as problem:
        raise StoreError(f"there is a job {job.id} already") from problem
    return int(row[0][0])


def stage(connection: apsw.Connection, items: Iterable[Line]) -> None:
    """Writes items where only this connection sees them, and nobody waits for it."""
    connection.execute(STAGED)
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO staged VALUES (?,?,?,?,?,?,?)",
        (
            (item.line_no, item.custom_id, item.model, item.request_digest, item.offset,
             item.length, item.tokens_estimated)
            for item in items
        ),
    )  # fmt: skip
    connection.execute("COMMIT")


def take_staged(connection: apsw.Connection, job: int, state: str) -> None:
    """Makes what was staged the items of a job; equal ones follow the first of them."""
    try:
        connection.execute(
            "INSERT INTO item(job, line_no, custom_id, model, request_digest, byte_offset,"
            " byte_length, tokens_estimated, leader)"
            " SELECT ?, line_no, custom_id, model, request_digest, byte_offset, byte_length,"
            " tokens_estimated, CASE WHEN first = line_no THEN 0 ELSE first END FROM (SELECT *,"
            " min(line_no) OVER (PARTITION BY model, request_digest) AS first FROM staged)"
            " ORDER BY line_no",
            (job,),
        )
    except apsw.ConstraintError as problem:
        raise StoreError("two lines have the same custom_id") from problem
    connection.execute(
        "INSERT INTO tally SELECT ?, ?, count(*) FROM staged HAVING count(*) > 0", (job, state)
    )


def count(connection: apsw.Connection, job: int, changes: Mapping[str, int]) -> None:
    """Adds to the numbers of items by state."""
    connection.executemany(
        "INSERT INTO tally VALUES (?1, ?2, max(?3, 0)) ON CONFLICT(job, state) DO UPDATE SET"
        " items = items + ?3",
        ((job, state, change) for state, change in changes.items() if change),
    )


def bill(connection: apsw.Connection, job: int, ended: Iterable[Settled]) -> None:
    """Adds to the money of a job."""
    sums = [0, 0, 0, 0]
    for settled in ended:
        sums[0] += settled.cost_nanos or 0
        sums[1] += settled.saved_cache_nanos
        sums[2] += settled.saved_batch_nanos
        sums[3] += settled.at_risk_nanos
    connection.execute(
        "UPDATE job SET cost_nanos = cost_nanos + ?, saved_cache_nanos = saved_cache_nanos + ?,"
        " saved_batch_nanos = saved_batch_nanos + ?, at_risk_nanos = at_risk_nanos + ?"
        " WHERE number = ?",
        (*sums, job),
    )


def find(connection: apsw.Connection, job_id: str, tenant: str | None) -> Job | None:
    """The job of that id; None for an unknown one, and for another tenant's."""
    found = connection.execute(
        "SELECT * FROM job WHERE id = ?1 AND (?2 IS NULL OR tenant = ?2)", (job_id, tenant)
    ).fetchall()
    return _job(connection, found[0]) if found else None


def newest(
    connection: apsw.Connection, after: str, limit: int, dialect: str, tenant: str | None
) -> list[Job]:
    """Jobs, the newest first, those after the id `after`."""
    below = _number_of(connection, after, tenant)
    if tenant is None:
        found = connection.execute(
            "SELECT * FROM job WHERE number < ?1 AND (?2 = '' OR dialect = ?2)"
            " ORDER BY number DESC LIMIT ?3",
            (below, dialect, limit),
        )
    else:
        found = connection.execute(
            "SELECT * FROM job WHERE tenant = ?4 AND number < ?1 AND (?2 = '' OR dialect = ?2)"
            " ORDER BY number DESC LIMIT ?3",
            (below, dialect, limit, tenant),
        )
    return [_job(connection, row) for row in found.fetchall()]


def ask_cancel(connection: apsw.Connection, job_id: str, now_s: float) -> None:
    """Notes the wish, unless the job has ended."""
    connection.execute(
        "UPDATE job SET state = ?, cancel_asked_s = coalesce(cancel_asked_s, ?) WHERE id = ?"
        " AND state NOT IN ('completed', 'failed', 'expired', 'cancelled')",
        (CANCELLING, now_s, job_id),
    )


def set_state(connection: apsw.Connection, job: int, state: str, now_s: float) -> None:
    """The state of a job that has not ended; one that is `cancelling` stays so until it ends."""
    ended_s = now_s if state in JOB_ENDS else None
    connection.execute(
        "UPDATE job SET state = ?1, ended_s = ?2 WHERE number = ?3"
        " AND state NOT IN ('completed', 'failed', 'expired', 'cancelled')"
        " AND (cancel_asked_s IS NULL OR ?2 IS NOT NULL OR ?1 = 'finalizing')",
        (state, ended_s, job),
    )


def remove(connection: apsw.Connection, job_id: str, tenant: str) -> bool:
    """Forgets a job and all that is known of it; whether there was one. Raises InUse for one that
    has not ended."""
    found: Any = connection.execute(
        "SELECT number, ended_s IS NOT NULL FROM job WHERE id = ? AND tenant = ?", (job_id, tenant)
    ).fetchall()
    if not found:
        return False
    number, has_ended = found[0]
    if not has_ended:
        raise InUse(f"{job_id} has not ended")
    bodies = connection.execute(
        "SELECT DISTINCT body FROM result WHERE job = ? AND body IS NOT NULL", (number,)
    ).fetchall()
    # The job's own row first: items, results and ledger rows go with their job only.
    connection.execute("DELETE FROM job WHERE number = ?", (number,))
    connection.execute("DELETE FROM ledger WHERE job = ?", (number,))
    connection.execute("DELETE FROM result WHERE job = ?", (number,))
    connection.execute("DELETE FROM item WHERE job = ?", (number,))
    connection.execute("DELETE FROM shard WHERE job = ?", (number,))
    connection.execute("DELETE FROM tally WHERE job = ?", (number,))
    connection.executemany(
        "DELETE FROM body WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM result WHERE body = ?1)",
        bodies,
    )
    return True


def ended_before(connection: apsw.Connection, before_s: float, most: int) -> list[tuple[str, str]]:
    """(id, tenant) of jobs of clients that have ended by then, the oldest first."""
    found: Any = connection.execute(
        "SELECT id, tenant FROM job WHERE ended_s < ? AND tenant <> '' ORDER BY number LIMIT ?",
        (before_s, most),
    ).fetchall()
    return [(job_id, tenant) for job_id, tenant in found]


# Leases.


def claim(
    connection: apsw.Connection, job_id: str, owner: str, now_s: float, lease_s: float
) -> Lease | None:
    """The lease, with a fence one higher; None for a job that has ended, is unknown, or taken."""
    found: Any = connection.execute(
        "UPDATE job SET fence = fence + 1, lease_owner = ?1, lease_until_s = ?2"
        " WHERE id = ?3 AND (lease_owner IN ('', ?1) OR lease_until_s <= ?4)"
        " AND state NOT IN ('completed', 'failed', 'expired', 'cancelled') RETURNING fence",
        (owner, now_s + lease_s, job_id, now_s),
    ).fetchall()
    return Lease(job_id, owner, found[0][0]) if found else None


def held(connection: apsw.Connection, lease: Lease) -> int:
    """The number of the job. Raises Fenced where the lease is lost."""
    found: Any = connection.execute(
        "SELECT number FROM job WHERE id = ? AND lease_owner = ? AND fence = ?",
        (lease.job_id, lease.owner, lease.fence),
    ).fetchall()
    if not found:
        raise Fenced(f"{lease.job_id}: another worker has taken it over from {lease.owner}")
    return int(found[0][0])


def renew(connection: apsw.Connection, job: int, until_s: float) -> None:
    """Lets the lease live until `until_s`."""
    connection.execute("UPDATE job SET lease_until_s = ? WHERE number = ?", (until_s, job))


def release(connection: apsw.Connection, lease: Lease) -> None:
    """Nobody works on the job, unless somebody else does by now."""
    connection.execute(
        "UPDATE job SET lease_owner = '', lease_until_s = 0"
        " WHERE id = ? AND lease_owner = ? AND fence = ?",
        (lease.job_id, lease.owner, lease.fence),
    )


def waiting(connection: apsw.Connection, now_s: float) -> list[Waiting]:
    """Open jobs that nobody works on, the oldest first."""
    found: Any = connection.execute(
        "SELECT id, tenant, cancel_asked_s IS NOT NULL FROM job"
        " WHERE state NOT IN ('completed', 'failed', 'expired', 'cancelled')"
        " AND (lease_owner = '' OR lease_until_s <= ?) ORDER BY number",
        (now_s,),
    )
    return [Waiting(name, tenant, bool(cancelled)) for name, tenant, cancelled in found.fetchall()]


def number_of(connection: apsw.Connection, job_id: str) -> int:
    """The number of a job; 0 for an unknown id."""
    return int(connection.execute("SELECT number FROM job WHERE id = ?", (job_id,)).get or 0)


def _number_of(connection: apsw.Connection, after: str, tenant: str | None) -> int:
    """What numbers after `after` are below; nothing is after an id that is unknown."""
    if not after:
        return 1 << 62
    found: Any = connection.execute(
        "SELECT number FROM job WHERE id = ?1 AND (?2 IS NULL OR tenant = ?2)", (after, tenant)
    ).get
    return int(found or 0)


def _job(connection: apsw.Connection, row: tuple[Any, ...]) -> Job:
    (number, job_id, tenant, _, endpoint, input_file_id, created_s, deadline_s, state, options,
     errors, ended_s, cancelled_s, cost, saved_cache, saved_batch, at_risk, *_) = row  # fmt: skip
    counts: Any = connection.execute(
        "SELECT state, items FROM tally WHERE job = ? AND items > 0", (number,)
    ).fetchall()
    return Job(
        id=job_id,
        tenant=tenant,
        endpoint=endpoint,
        input_file_id=input_file_id,
        created_s=created_s,
        deadline_s=deadline_s,
        state=state,
        options=_OPTIONS.decode(options),
        ended_s=ended_s,
        cancel_asked_s=cancelled_s,
        counts=dict(counts),
        cost_nanos=cost,
        saved_cache_nanos=saved_cache,
        saved_batch_nanos=saved_batch,
        at_risk_nanos=at_risk,
        errors=_ERRORS.decode(errors),
    )
