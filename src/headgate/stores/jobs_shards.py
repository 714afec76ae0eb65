"""Rows of shards, the batches at providers. SQL stands here; every value is a parameter."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw
import msgspec
from msgspec.structs import replace

from headgate.errors import StoreError
from headgate.jobs.model import Intent, Learned, Shard
from headgate.jobs.states import INTENT, shard_may_follow


class Standing(NamedTuple):
    """A shard and its number in the file."""

    number: int
    shard: Shard


def insert(
    connection: apsw.Connection, job: int, wanted: Intent, count: int, now_s: float
) -> Standing:
    """Adds a shard. Raises StoreError for an id or a token that is taken."""
    try:
        connection.execute(
            "INSERT INTO shard(id, job, provider, submit_token, model, state, created_s, items,"
            " detail) VALUES (?,?,?,?,?,?,?,?,?)",
            (wanted.id, job, wanted.provider, wanted.submit_token, wanted.model, INTENT, now_s,
             count, b"{}"),
        )  # fmt: skip
    except apsw.ConstraintError as problem:
        raise StoreError(f"{wanted.id}: this shard or its token is known already") from problem
    number = connection.last_insert_rowid()
    shard = Shard(
        wanted.id, wanted.job_id, wanted.provider, wanted.submit_token, wanted.model, INTENT,
        now_s, count,
    )  # fmt: skip
    return Standing(number, shard)


def find(connection: apsw.Connection, job: int, job_id: str, shard_id: str) -> Standing:
    """A shard of a job. Raises StoreError for an unknown one."""
    found = connection.execute(
        "SELECT * FROM shard WHERE id = ? AND job = ?", (shard_id, job)
    ).fetchall()
    if not found:
        raise StoreError(f"there is no shard {shard_id} in {job_id}")
    return _standing(found[0], job_id)


def advance(connection: apsw.Connection, standing: Standing, state: str, learned: Learned) -> Shard:
    """The shard in its next state, or in the same one with more known of it. Raises StoreError for
    a step that it may not take."""
    shard = standing.shard
    if state != shard.state and not shard_may_follow(shard.state, state):
        raise StoreError(f"{shard.id}: {shard.state} may not become {state}")
    known = {
        name: value
        for name in learned.__struct_fields__
        if (value := getattr(learned, name)) is not None
    }
    changed = replace(shard, state=state, **known)
    connection.execute(
        "UPDATE shard SET state = ?, input_file_id = ?, provider_batch_id = ?, detail = ?"
        " WHERE number = ?",
        (changed.state, changed.input_file_id, changed.provider_batch_id,
         msgspec.json.encode(changed.detail), standing.number),
    )  # fmt: skip
    return changed


def of_job(connection: apsw.Connection, job: int, job_id: str) -> list[Shard]:
    """In the order in which they were intended."""
    found = connection.execute("SELECT * FROM shard WHERE job = ? ORDER BY number", (job,))
    return [_standing(row, job_id).shard for row in found.fetchall()]


def _standing(row: tuple[Any, ...], job_id: str) -> Standing:
    (number, shard_id, _, provider, token, model, state, created_s, items, input_file_id,
     provider_batch_id, detail) = row  # fmt: skip
    shard = Shard(
        shard_id, job_id, provider, token, model, state, created_s, items, input_file_id,
        provider_batch_id, msgspec.json.decode(detail),
    )  # fmt: skip
    return Standing(number, shard)
