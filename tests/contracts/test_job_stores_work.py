"""Every promise of jobs/base.py on items and shards, asked of every store of jobs. The numbers are
those of its promises; files, jobs and leases stand in test_job_stores.py."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace
from stores.jobfiles import (
    LEASE_S,
    a_line,
    an_intent,
    answered,
    counts,
    leased,
    lines,
    made,
)

from headgate.errors import StoreError
from headgate.jobs.base import InUse, JobStore
from headgate.jobs.model import Job, Learned, Settled
from headgate.jobs.states import (
    ABANDONED,
    APPLIED,
    CACHE_HIT,
    CANCELLED,
    COMPLETED,
    CREATED,
    EXPIRED,
    FAILED,
    FETCHED,
    POLLING,
    QUEUED,
    SHARDED,
    SUBMITTED,
    SUCCEEDED,
    UPLOADED,
)
from headgate.testing import FakeClock
from headgate.types import NO_USAGE, Usage

# Items.


def test_items_come_in_the_order_of_their_lines_page_by_page(job_store: JobStore) -> None:
    job = made(job_store, lines(25)[::-1])
    first = job_store.items(job.id, QUEUED, limit=10)
    assert [item.line_no for item in first] == list(range(1, 11))
    rest = job_store.items(job.id, QUEUED, after_line=first[-1].line_no)
    assert [item.custom_id for item in rest] == [f"line-{number}" for number in range(11, 26)]
    line, item = a_line(1), first[0]
    for name in line.__struct_fields__:
        assert getattr(item, name) == getattr(line, name)
    assert (item.job_id, item.state, item.attempt, item.shard_id) == (job.id, QUEUED, 0, "")
    assert job_store.items("job_unknown", QUEUED) == []


def test_3_the_first_result_wins(job_store: JobStore) -> None:
    job, lease = leased(job_store, lines(3))
    assert job_store.settle(lease, [answered("line-1"), answered("line-1", FAILED)]) == 1
    assert job_store.settle(lease, [answered("line-1", CANCELLED), answered("line-2")]) == 1
    assert job_store.requeue(lease, ["line-1"]) == 0
    rows = list(job_store.results(job.id))
    assert [row.settled for row in rows] == [answered("line-1"), answered("line-2")]
    found = job_store.job(job.id, None)
    assert found is not None
    assert (found.counts, found.cost_nanos, found.total) == ({QUEUED: 1, SUCCEEDED: 2}, 14, 3)


def test_4_everything_that_is_known_of_a_result_comes_back(job_store: JobStore) -> None:
    job, lease = leased(job_store, lines(3))
    known = Settled(
        "line-1", FAILED, 400, b"{}", "bad", "it is bad", Usage(1, 2, 3, 4, 5, 6), 7, 8, 9, 10,
        "openai/gpt-4o", "batch",
    )  # fmt: skip
    unknown = Settled("line-2", EXPIRED, cost_nanos=None)
    job_store.settle(lease, [unknown, known])
    rows = list(job_store.results(job.id))
    assert [(row.line_no, row.settled) for row in rows] == [(1, known), (2, unknown)]
    found = job_store.job(job.id, None)
    assert found is not None
    assert (found.cost_nanos, found.saved_cache_nanos) == (7, 8)
    assert (found.saved_batch_nanos, found.at_risk_nanos) == (9, 10)


def test_tokens_of_a_job_are_those_of_its_answers(job_store: JobStore) -> None:
    job, lease = leased(job_store, [a_line(1), a_line(2, 1), a_line(3)])
    assert job_store.usage(job.id) == Usage()
    ends = [answered("line-1", usage=Usage(1, 2, 3, 4, 5, 6)), answered("line-3", usage=Usage(10))]
    job_store.settle(lease, ends)
    assert job_store.usage(job.id) == Usage(11, 2, 3, 4, 5, 6), "what is copied takes none"
    assert job_store.usage("job_unknown") == Usage()


def test_1_one_step_that_may_not_be_taken_undoes_the_whole(job_store: JobStore) -> None:
    job, lease = leased(job_store, lines(3))
    job_store.intend(lease, an_intent(job), ["line-3"])
    for wrong in [
        answered("line-3"),
        answered("line-2", SHARDED),
        answered("line-2", "nonsense"),
        answered("line-99"),
    ]:
        with pytest.raises(StoreError):
            job_store.settle(lease, [answered("line-1"), wrong])
    assert counts(job_store, job) == {QUEUED: 2, SHARDED: 1}
    assert list(job_store.results(job.id)) == []


def test_equal_lines_follow_the_first_of_them(job_store: JobStore) -> None:
    equal = [a_line(1), a_line(2, 1), a_line(3), a_line(4, 1), a_line(5, 3)]
    job, lease = leased(job_store, equal)
    assert [item.custom_id for item in job_store.items(job.id, QUEUED)] == ["line-1", "line-3"]
    assert counts(job_store, job) == {QUEUED: 5}
    with pytest.raises(StoreError, match="ends with the line"):
        job_store.settle(lease, [answered("line-2")])
    good = answered("line-1", usage=Usage(5, 6), saved_batch_nanos=3, target="t", lane="batch")
    assert job_store.settle(lease, [good, answered("line-3", FAILED, error_code="bad")]) == 5
    rows = {row.settled.custom_id: row.settled for row in job_store.results(job.id)}
    assert rows["line-2"] == replace(
        good, custom_id="line-2", state=CACHE_HIT, usage=Usage(), cost_nanos=0,
        saved_batch_nanos=0, saved_cache_nanos=10, lane="",
    )  # fmt: skip
    assert (rows["line-5"].state, rows["line-5"].error_code) == (FAILED, "bad")
    assert (rows["line-5"].cost_nanos, rows["line-5"].saved_cache_nanos) == (0, 0)
    found = job_store.job(job.id, None)
    assert found is not None
    assert found.counts == {SUCCEEDED: 1, CACHE_HIT: 2, FAILED: 2}
    assert (found.cost_nanos, found.saved_cache_nanos, found.saved_batch_nanos) == (14, 20, 3)


def test_lines_of_two_models_are_not_equal(job_store: JobStore) -> None:
    job = made(job_store, [a_line(1), a_line(2, 1, model="gpt-4o-mini")])
    assert len(job_store.items(job.id, QUEUED)) == 2


def test_results_are_read_piece_by_piece_from_any_line_on(job_store: JobStore) -> None:
    job, lease = leased(job_store, lines(450))
    job_store.settle(
        lease, [answered(f"line-{number}") for number in range(450, 0, -1) if number % 3]
    )
    reading = job_store.results(job.id)
    first = next(reading)
    # What is written meanwhile is seen, where it is not behind.
    job_store.settle(lease, [answered("line-3"), answered("line-450")])
    seen = [first.line_no, *(row.line_no for row in reading)]
    assert seen == sorted(seen)
    assert set(seen) >= {number for number in range(1, 451) if number % 3} | {450}
    assert [row.line_no for row in job_store.results(job.id, after_line=447)] == [448, 449, 450]
    assert list(job_store.results("job_unknown")) == []


# Shards.


def test_a_shard_takes_its_items_along(job_store: JobStore, job_clock: FakeClock) -> None:
    job, lease = leased(job_store, lines(4))
    wanted = an_intent(job)
    shard = job_store.intend(lease, wanted, ["line-1", "line-2"])
    assert (shard.state, shard.count, shard.created_s) == ("intent", 2, job_clock.wall())
    assert (shard.id, shard.submit_token, shard.job_id) == (wanted.id, wanted.submit_token, job.id)
    assert counts(job_store, job) == {QUEUED: 2, SHARDED: 2}
    job_store.advance(lease, shard.id, UPLOADED, Learned(input_file_id="file-1"))
    created = job_store.advance(lease, shard.id, CREATED, Learned("file-1", "batch_1"))
    assert counts(job_store, job) == {QUEUED: 2, SUBMITTED: 2}
    assert [(item.state, item.attempt) for item in job_store.shard_items(shard.id)] == [
        (SUBMITTED, 1), (SUBMITTED, 1),
    ]  # fmt: skip
    polling = job_store.advance(
        lease, shard.id, POLLING, Learned(detail={"seen": [1, {"a": None}]})
    )
    assert polling == replace(created, state=POLLING, detail={"seen": [1, {"a": None}]})
    assert job_store.advance(lease, shard.id, POLLING) == polling, "once more is no harm"
    assert job_store.requeue(lease, ["line-2", "line-3"]) == 1
    assert counts(job_store, job) == {QUEUED: 3, SUBMITTED: 1}
    assert [item.custom_id for item in job_store.shard_items(shard.id)] == ["line-1"]
    job_store.settle(lease, [answered("line-1")])
    for state in (FETCHED, APPLIED):
        job_store.advance(lease, shard.id, state)
    again = job_store.intend(lease, an_intent(job), ["line-2"])
    job_store.advance(lease, again.id, CREATED)
    assert [item.attempt for item in job_store.shard_items(again.id)] == [2]
    assert [known.id for known in job_store.shards(job.id)] == [shard.id, again.id]
    assert job_store.shard_items(shard.id)[0].state == SUCCEEDED


def test_1_an_intent_that_cannot_be_is_undone_whole(job_store: JobStore) -> None:
    job, lease = leased(job_store, lines(3))
    token = an_intent(job).submit_token
    shard = job_store.intend(lease, an_intent(job, token=token), ["line-1"])
    for wanted, names in [
        (an_intent(job), ["line-2", "line-1"]),
        (an_intent(job), ["line-2", "line-99"]),
        (an_intent(job, token=token), ["line-2"]),
        (replace(an_intent(job), id=shard.id), ["line-2"]),
    ]:
        with pytest.raises(StoreError):
            job_store.intend(lease, wanted, names)
    assert job_store.shards(job.id) == [shard]
    assert counts(job_store, job) == {QUEUED: 2, SHARDED: 1}


def test_a_shard_takes_no_step_that_is_not_in_the_table(job_store: JobStore) -> None:
    job, lease = leased(job_store, lines(1))
    shard = job_store.intend(lease, an_intent(job), ["line-1"])
    with pytest.raises(StoreError, match="intent may not become fetched"):
        job_store.advance(lease, shard.id, FETCHED)
    with pytest.raises(StoreError, match="no shard"):
        job_store.advance(lease, "shard_unknown", UPLOADED)
    other, other_lease = leased(job_store, lines(1))
    with pytest.raises(StoreError, match="no shard"):
        job_store.advance(other_lease, shard.id, UPLOADED)
    assert job_store.shards(other.id) == []
    job_store.advance(lease, shard.id, ABANDONED)
    with pytest.raises(StoreError):
        job_store.advance(lease, shard.id, CREATED)


def test_6_many_threads_at_once_lose_nothing(job_store: JobStore) -> None:
    job, lease = leased(job_store, lines(400))
    together = threading.Barrier(8)

    def work(first: int) -> int:
        together.wait(30)
        done = 0
        for number in range(first, 401, 8):
            # Its neighbour's line, too: one of the two is first.
            neighbour = number % 400 + 1
            done += job_store.settle(lease, [answered(f"line-{number}")])
            done += job_store.settle(lease, [answered(f"line-{neighbour}")])
            assert job_store.job(job.id, "acme") is not None
        return done

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(1, 9))) == 400
    assert counts(job_store, job) == {SUCCEEDED: 400}
    assert len(list(job_store.results(job.id))) == 400


def test_a_closed_store_says_so(job_store: JobStore) -> None:
    job = made(job_store, lines(1))
    job_store.close()
    with pytest.raises(StoreError):
        job_store.job(job.id, None)
    with pytest.raises(StoreError):
        job_store.claim(job.id, "worker", LEASE_S)


def test_the_tokens_of_a_job_are_those_of_its_items(job_store: JobStore) -> None:
    job, lease = leased(job_store, lines(3))
    assert job_store.usage(job.id) == NO_USAGE
    each = Usage(tokens_in=9, tokens_out=4, tokens_cached=2, tokens_reasoning=1)
    job_store.settle(lease, [answered(f"line-{number}", usage=each) for number in (1, 3)])
    assert job_store.usage(job.id) == Usage(18, 8, 4, tokens_reasoning=2)
    assert job_store.usage("job_unknown") == NO_USAGE


def finished(store: JobStore, **more: Any) -> Job:
    job, lease = leased(store, lines(2), **more)
    store.settle(lease, [answered("line-1"), answered("line-2")])
    store.set_state(lease, COMPLETED)
    store.release(lease)
    return job


def test_a_job_that_has_ended_is_forgotten_with_all_of_it(job_store: JobStore) -> None:
    running, lease = leased(job_store, lines(2))
    job_store.settle(lease, [answered("line-1")])
    with pytest.raises(InUse):
        job_store.remove(running.id, "acme")
    gone, kept = finished(job_store), finished(job_store)
    assert not job_store.remove(gone.id, "else")
    assert job_store.remove(gone.id, "acme")
    assert not job_store.remove(gone.id, "acme")
    assert job_store.job(gone.id, None) is None
    assert list(job_store.results(gone.id)) == []
    # Equal answers are kept once, as long as one job has them.
    for job, count in ((kept, 2), (running, 1)):
        bodies = [row.settled.body for row in job_store.results(job.id)]
        assert bodies == [answered(f"line-{number}").body for number in range(1, count + 1)]
    assert job_store.usage(gone.id) == NO_USAGE


def test_what_is_old_goes_unless_it_is_in_use(job_store: JobStore, job_clock: FakeClock) -> None:
    used, free = (job_store.add_file("acme", "batch", "a", [b"a"]) for _ in range(2))
    own = job_store.add_file("", "batch", "a", [b"a"])
    running, _ = leased(job_store, lines(1), input_file_id=used.id)
    old, mine = finished(job_store), finished(job_store, tenant="")
    job_clock.advance(100.0)
    young = finished(job_store)
    late = job_store.add_file("acme", "batch", "a", [b"a"])
    before_s = job_clock.wall() - 50.0
    assert job_store.forget_old(before_s, most=0) == 0
    assert job_store.forget_old(before_s) == 2
    assert job_store.forget_old(before_s) == 0
    assert job_store.job(old.id, None) is None
    assert job_store.file(free.id, None) is None
    for job in (running, mine, young):
        assert job_store.job(job.id, None) is not None
    for file in (used, own, late):
        assert job_store.file(file.id, None) is not None
