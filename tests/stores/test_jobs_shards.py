"""Shards of jobs: what is learned of them is kept until something else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from stores.jobfiles import an_intent, leased, lines

from headgate.errors import StoreError
from headgate.jobs.model import Learned
from headgate.jobs.states import CREATED, POLLING, SHARD_STATES, UPLOADED, shard_may_follow
from headgate.stores import jobs_rows, jobs_shards
from headgate.stores.jobs import JobsFile
from headgate.stores.jobs_shards import Standing
from headgate.testing import FakeClock


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobsFile]:
    with JobsFile(tmp_path / "jobs.db", FakeClock()) as opened:
        yield opened


def test_what_is_not_said_stays_as_it_was_known(store: JobsFile) -> None:
    job, lease = leased(store, lines(1))
    shard = store.intend(lease, an_intent(job), ["line-1"])
    store.advance(lease, shard.id, UPLOADED, Learned("file-1", detail={"a": 1}))
    store.advance(lease, shard.id, CREATED, Learned(provider_batch_id="batch_1"))
    known = store.advance(lease, shard.id, POLLING)
    assert (known.input_file_id, known.provider_batch_id) == ("file-1", "batch_1")
    assert known.detail == {"a": 1}
    assert store.shards(job.id) == [known]
    emptied = store.advance(lease, shard.id, POLLING, Learned("", "", {}))
    assert (emptied.input_file_id, emptied.provider_batch_id, emptied.detail) == ("", "", {})


@pytest.mark.parametrize("state", SHARD_STATES)
def test_shards_take_the_steps_of_the_table(store: JobsFile, state: str) -> None:
    job, lease = leased(store, lines(1))
    shard = store.intend(lease, an_intent(job), ["line-1"])
    with store._writing() as connection:
        number = jobs_rows.number_of(connection, job.id)
        standing = jobs_shards.find(connection, number, job.id, shard.id)
    assert standing.shard == shard
    at = Standing(standing.number, replace(shard, state=state))
    taken = {following for following in SHARD_STATES if steps(store, at, following)}
    assert taken == {one for one in SHARD_STATES if one == state or shard_may_follow(state, one)}


def steps(store: JobsFile, at: Standing, state: str) -> bool:
    """Whether a shard takes this step."""
    try:
        with store._writing() as connection:
            return jobs_shards.advance(connection, at, state, Learned()).state == state
    except StoreError:
        return False
