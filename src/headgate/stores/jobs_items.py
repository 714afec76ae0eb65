"""Rows of items and of what came of them. SQL stands here; every value is a parameter."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw

from headgate.errors import StoreError
from headgate.jobs.model import Item, ResultRow, Settled
from headgate.jobs.states import (
    CACHE_HIT,
    QUEUED,
    SHARDED,
    SUBMITTED,
    SUCCEEDED,
    TERMINAL,
    may_follow,
)
from headgate.types import Usage


class Ended(NamedTuple):
    """What `settle` has changed."""

    settled: list[Settled]
    """One for each item, followers included."""
    counts: Counter[str]
    """Changes by state."""


def find(
    connection: apsw.Connection, job: int, job_id: str, state: str, after_line: int, limit: int
) -> list[Item]:
    """Leaders in `state`, in the order of their lines."""
    found: Any = connection.execute(
        "SELECT i.custom_id, i.line_no, i.model, i.request_digest, i.byte_offset, i.byte_length,"
        " i.tokens_estimated, i.state, i.attempt, coalesce(s.id, '')"
        " FROM item i INDEXED BY item_leading LEFT JOIN shard s ON s.number = i.shard"
        " WHERE i.job = ? AND i.leader = 0 AND i.state = ? AND i.line_no > ?"
        " ORDER BY i.line_no LIMIT ?",
        (job, state, after_line, limit),
    )
    return [Item(job_id, *row) for row in found.fetchall()]


def of_shard(connection: apsw.Connection, shard_id: str) -> list[Item]:
    """Items that stand in a shard, whatever has become of them, in the order of their lines."""
    found: Any = connection.execute(
        "SELECT j.id, i.custom_id, i.line_no, i.model, i.request_digest, i.byte_offset,"
        " i.byte_length, i.tokens_estimated, i.state, i.attempt, s.id"
        " FROM shard s JOIN item i ON i.shard = s.number JOIN job j ON j.number = i.job"
        " WHERE s.id = ? ORDER BY i.line_no",
        (shard_id,),
    )
    return [Item(*row) for row in found.fetchall()]


def settle(connection: apsw.Connection, job: int, settled: Sequence[Settled]) -> Ended:
    """Ends items and their followers; those that have ended already stay as they are. Raises
    StoreError for an unknown `custom_id`, and for a step that an item may not take."""
    ended = Ended([], Counter())
    for one in settled:
        line_no, state = _standing(connection, job, one.custom_id)
        if state in TERMINAL:
            continue
        if one.state not in TERMINAL or not may_follow(state, one.state):
            raise StoreError(f"{one.custom_id}: {state} may not become {one.state}")
        body = _keep(connection, one.body) if one.body else None
        _end(connection, job, line_no, one, body)
        ended.settled.append(one)
        ended.counts[state] -= 1
        ended.counts[one.state] += 1
        _end_followers(connection, (job, line_no, body), one, ended)
    return ended


def _end_followers(
    connection: apsw.Connection, leader: tuple[int, int, int | None], one: Settled, ended: Ended
) -> None:
    job, line_no, body = leader
    followers: Any = connection.execute(
        # The index is named, because SQLite would read the whole job: it has no statistics.
        "SELECT line_no, custom_id, state FROM item INDEXED BY item_following"
        " WHERE job = ? AND leader = ? AND leader > 0",
        (job, line_no),
    ).fetchall()
    for follower, custom_id, state in followers:
        copied = _copied(one, custom_id)
        _end(connection, job, follower, copied, body)
        ended.settled.append(copied)
        ended.counts[state] -= 1
        ended.counts[copied.state] += 1


def _copied(leader: Settled, custom_id: str) -> Settled:
    """What a line comes to whose equal was asked: nothing is paid for it. Where that one failed it
    fails, too."""
    is_good = leader.state in (SUCCEEDED, CACHE_HIT)
    whole_nanos = leader.saved_batch_nanos + leader.saved_cache_nanos + (leader.cost_nanos or 0)
    return Settled(
        custom_id,
        CACHE_HIT if is_good else leader.state,
        leader.status_code,
        leader.body,
        leader.error_code,
        leader.error_message,
        saved_cache_nanos=whole_nanos if is_good else 0,
        target=leader.target,
        lane="",
    )


def _standing(connection: apsw.Connection, job: int, custom_id: str) -> tuple[int, str]:
    found: Any = connection.execute(
        "SELECT line_no, state, leader FROM item WHERE job = ? AND custom_id = ?", (job, custom_id)
    ).fetchall()
    if not found:
        raise StoreError(f"there is no line {custom_id!r} in this job")
    line_no, state, leader = found[0]
    if leader and state not in TERMINAL:
        raise StoreError(f"{custom_id!r} ends with the line whose answer it copies")
    return line_no, state


def _end(
    connection: apsw.Connection, job: int, line_no: int, one: Settled, body: int | None
) -> None:
    connection.execute(
        "UPDATE item SET state = ? WHERE job = ? AND line_no = ?", (one.state, job, line_no)
    )
    connection.execute(
        "INSERT INTO result VALUES (?,?,?,?,?,?)",
        (job, line_no, one.status_code, body, one.error_code, one.error_message),
    )
    usage = one.usage
    connection.execute(
        "INSERT INTO ledger VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (job, line_no, one.cost_nanos, one.saved_cache_nanos, one.saved_batch_nanos,
         one.at_risk_nanos, usage.tokens_in, usage.tokens_out, usage.tokens_cached,
         usage.tokens_cache_write, usage.tokens_cache_write_1h, usage.tokens_reasoning,
         one.target, one.lane),
    )  # fmt: skip


def _keep(connection: apsw.Connection, content: bytes) -> int:
    """The number under which a body is kept, by what it holds: equal ones are kept once."""
    digest = hashlib.sha256(content).digest()
    known: Any = connection.execute("SELECT number FROM body WHERE sha256 = ?", (digest,)).get
    if known is None:
        connection.execute("INSERT INTO body(sha256, content) VALUES (?, ?)", (digest, content))
        known = connection.last_insert_rowid()
    return int(known)


def requeue(connection: apsw.Connection, job: int, custom_ids: Sequence[str]) -> Counter[str]:
    """Back to `queued`, without a shard; what has ended, or was queued, stays. Changes by state."""
    counts: Counter[str] = Counter()
    for custom_id in custom_ids:
        line_no, state = _standing(connection, job, custom_id)
        if state not in (SHARDED, SUBMITTED):
            continue
        connection.execute(
            "UPDATE item SET state = 'queued', shard = NULL WHERE job = ? AND line_no = ?",
            (job, line_no),
        )
        counts[state] -= 1
        counts[QUEUED] += 1
    return counts


def put_into(
    connection: apsw.Connection, job: int, shard: int, custom_ids: Sequence[str]
) -> Counter[str]:
    """Makes queued items those of a shard. Raises StoreError where one of them is not queued."""
    for custom_id in custom_ids:
        line_no, state = _standing(connection, job, custom_id)
        if state != QUEUED:
            raise StoreError(f"{custom_id}: {state}, so it cannot go into a batch")
        connection.execute(
            "UPDATE item SET state = 'sharded', shard = ? WHERE job = ? AND line_no = ?",
            (shard, job, line_no),
        )
    return Counter({QUEUED: -len(custom_ids), SHARDED: len(custom_ids)})


def submit(connection: apsw.Connection, shard: int) -> Counter[str]:
    """The items of a shard have gone to a provider."""
    connection.execute(
        "UPDATE item SET state = 'submitted', attempt = attempt + 1"
        " WHERE shard = ? AND state = 'sharded'",
        (shard,),
    )
    changed = connection.changes()
    return Counter({SHARDED: -changed, SUBMITTED: changed})


def results(connection: apsw.Connection, job: int, after_line: int, limit: int) -> list[ResultRow]:
    """Terminal items, in the order of their lines."""
    found: Any = connection.execute(
        "SELECT r.line_no, i.custom_id, i.state, r.status_code, b.content, r.error_code,"
        " r.error_message, l.tokens_in, l.tokens_out, l.tokens_cached, l.tokens_cache_write,"
        " l.tokens_cache_write_1h, l.tokens_reasoning, l.cost_nanos, l.saved_cache_nanos,"
        " l.saved_batch_nanos, l.at_risk_nanos, l.target, l.lane FROM result r"
        " CROSS JOIN item i ON i.job = r.job AND i.line_no = r.line_no"
        " CROSS JOIN ledger l ON l.job = r.job AND l.line_no = r.line_no"
        " LEFT JOIN body b ON b.number = r.body"
        " WHERE r.job = ? AND r.line_no > ? ORDER BY r.line_no LIMIT ?",
        (job, after_line, limit),
    )
    return [_result(row) for row in found.fetchall()]


def usage(connection: apsw.Connection, job: int) -> Usage:
    """Tokens of every item that has ended."""
    found: Any = connection.execute(
        "SELECT coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0),"
        " coalesce(sum(tokens_cached), 0), coalesce(sum(tokens_cache_write), 0),"
        " coalesce(sum(tokens_cache_write_1h), 0), coalesce(sum(tokens_reasoning), 0)"
        " FROM ledger WHERE job = ?",
        (job,),
    ).fetchall()
    return Usage(*found[0])


def _result(row: tuple[Any, ...]) -> ResultRow:
    line_no, custom_id, state, status_code, body, error_code, error_message, *rest = row
    settled = Settled(
        custom_id, state, status_code, body or b"", error_code, error_message, Usage(*rest[:6]),
        *rest[6:],
    )  # fmt: skip
    return ResultRow(line_no, settled)
