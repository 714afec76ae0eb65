"""Every promise of jobs/base.py on files, jobs and leases, asked of every store of jobs. The
numbers are those of its promises; items and shards stand in test_job_stores_work.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace
from stores.jobfiles import (
    LEASE_S,
    a_job,
    a_line,
    an_intent,
    answered,
    counts,
    leased,
    lines,
    made,
)

from headgate.errors import StoreError
from headgate.jobs.base import Fenced, InUse, JobStore
from headgate.jobs.model import Job, Lease, Line, LineProblem
from headgate.jobs.states import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    FINALIZING,
    IN_PROGRESS,
    JOB_CANCELLED,
    JOB_FAILED,
    QUEUED,
    UPLOADED,
    VALIDATING,
)
from headgate.testing import FakeClock

# Files.


def test_a_file_comes_back_byte_by_byte(job_store: JobStore, job_clock: FakeClock) -> None:
    file = job_store.add_file("acme", "batch", "in.jsonl", iter([b"one\n", b"", b"two"]))
    assert (file.tenant, file.purpose, file.name, file.size_bytes) == (
        "acme", "batch", "in.jsonl", 7,
    )  # fmt: skip
    assert file.created_s == job_clock.wall()
    assert len(file.sha256) == 64
    assert job_store.file(file.id, "acme") == file
    with job_store.open_file(file) as content:
        assert content.read() == b"one\ntwo"


def test_5_files_are_their_tenants(job_store: JobStore) -> None:
    mine = job_store.add_file("acme", "batch", "a", [b"a"])
    theirs = job_store.add_file("else", "batch", "b", [b"b"])
    assert job_store.file(theirs.id, "acme") is None
    assert job_store.file(theirs.id, None) == theirs
    assert job_store.files("acme") == [mine]
    assert job_store.files("acme", after=theirs.id) == []
    assert not job_store.remove_file(theirs.id, "acme")
    assert job_store.file(theirs.id, "else") == theirs


def test_files_are_listed_the_newest_first_page_by_page(job_store: JobStore) -> None:
    files = [job_store.add_file("acme", "batch", str(number), [b""]) for number in range(5)]
    assert job_store.files("acme") == files[::-1]
    assert job_store.files("acme", limit=2) == [files[4], files[3]]
    assert job_store.files("acme", after=files[3].id, limit=2) == [files[2], files[1]]
    assert job_store.files("acme", after="file_unknown") == []


def test_1_content_that_breaks_off_leaves_no_file(job_store: JobStore) -> None:
    def content() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the client has left")

    with pytest.raises(RuntimeError):
        job_store.add_file("acme", "batch", "a", content())
    assert job_store.files("acme") == []


def test_a_file_that_an_unfinished_job_reads_stays(job_store: JobStore) -> None:
    file = job_store.add_file("acme", "batch", "a", [b"a"])
    job, lease = leased(job_store, lines(1), input_file_id=file.id)
    with pytest.raises(InUse, match=f"{file.id} is read by {job.id}"):
        job_store.remove_file(file.id, "acme")
    job_store.settle(lease, [answered("line-1")])
    job_store.set_state(lease, COMPLETED)
    assert job_store.remove_file(file.id, "acme")
    assert not job_store.remove_file(file.id, "acme")
    with pytest.raises(StoreError):
        job_store.open_file(file)


def test_what_files_take_is_known(job_store: JobStore) -> None:
    assert job_store.stored_bytes() == 0
    small, large = (job_store.add_file("acme", "batch", "a", [b"a" * n]) for n in (1, 10_000))
    assert job_store.stored_bytes() == 4096 + 10_000
    job_store.remove_file(large.id, "acme")
    assert job_store.stored_bytes() == 4096
    job_store.remove_file(small.id, "acme")
    assert job_store.stored_bytes() == 0


# Jobs.


def test_a_job_comes_back_as_it_was_made(job_store: JobStore) -> None:
    problems = (LineProblem(3, "invalid_json_line", "no JSON", "body"),)
    job = a_job(state=JOB_FAILED, errors=problems, ended_s=1000.0)
    job_store.create(job, [])
    assert job_store.job(job.id, "acme") == job
    assert job_store.claim(job.id, "worker", LEASE_S) is None


def test_1_a_job_is_made_with_all_its_lines_or_not_at_all(job_store: JobStore) -> None:
    def breaks() -> Iterator[Line]:
        yield a_line(1)
        raise RuntimeError("a line is bad")

    job = a_job()
    with pytest.raises(RuntimeError):
        job_store.create(job, breaks())
    with pytest.raises(StoreError, match="the same custom_id"):
        job_store.create(job, [a_line(1), replace(a_line(2), custom_id="line-1")])
    assert job_store.job(job.id, None) is None
    job_store.create(job, lines(3))
    with pytest.raises(StoreError, match="already"):
        job_store.create(job, lines(2))
    assert counts(job_store, job) == {QUEUED: 3}


def test_5_jobs_are_their_tenants_in_every_method_that_names_one(job_store: JobStore) -> None:
    mine, theirs = made(job_store, lines(1)), made(job_store, lines(1), tenant="else")
    assert job_store.job(theirs.id, "acme") is None
    assert job_store.ask_cancel(theirs.id, "acme") is None
    assert [job.id for job in job_store.jobs("acme")] == [mine.id]
    assert job_store.jobs("acme", after=theirs.id) == []
    assert [job.id for job in job_store.jobs(None)] == [theirs.id, mine.id]
    untouched = job_store.job(theirs.id, "else")
    assert untouched is not None
    assert (untouched.state, untouched.cancel_asked_s) == (VALIDATING, None)
    assert job_store.job(theirs.id, "") is None, "the command line is a tenant like others"


def test_jobs_are_listed_the_newest_first_by_page_and_dialect(job_store: JobStore) -> None:
    ids = [
        made(job_store, [], dialect=("openai", "anthropic")[number % 2]).id for number in range(6)
    ]
    assert [job.id for job in job_store.jobs("acme", limit=4)] == ids[:1:-1]
    assert [job.id for job in job_store.jobs("acme", after=ids[3])] == [ids[2], ids[1], ids[0]]
    for tenant in ("acme", None):
        found = job_store.jobs(tenant, after=ids[5], dialect="anthropic")
        assert [job.id for job in found] == [ids[3], ids[1]]
    assert job_store.jobs("acme", after="job_unknown") == []


def test_a_wish_to_cancel_stays_until_the_job_has_ended(
    job_store: JobStore, job_clock: FakeClock
) -> None:
    job, lease = leased(job_store, lines(1))
    job_store.set_state(lease, IN_PROGRESS)
    asked = job_store.ask_cancel(job.id, "acme")
    assert asked is not None
    assert (asked.state, asked.cancel_asked_s) == (CANCELLING, job_clock.wall())
    job_clock.advance(5)
    assert job_store.ask_cancel(job.id, None) == asked, "asked for once"
    job_store.set_state(lease, IN_PROGRESS)
    assert job_store.job(job.id, None) == asked
    job_store.settle(lease, [answered("line-1", CANCELLED)])
    job_store.set_state(lease, JOB_CANCELLED)
    ended = job_store.job(job.id, None)
    assert ended is not None
    assert (ended.state, ended.ended_s) == (JOB_CANCELLED, job_clock.wall())
    assert job_store.ask_cancel(job.id, None) == ended
    job_store.set_state(lease, IN_PROGRESS)
    assert job_store.job(job.id, None) == ended
    assert job_store.ask_cancel("job_unknown", None) is None


def test_a_job_that_was_to_be_cancelled_may_be_done_already(job_store: JobStore) -> None:
    job, lease = leased(job_store, lines(1))
    job_store.settle(lease, [answered("line-1")])
    job_store.ask_cancel(job.id, None)
    for state in (FINALIZING, COMPLETED):
        job_store.set_state(lease, state)
        found = job_store.job(job.id, None)
        assert found is not None
        assert found.state == state


def test_5_a_job_is_forgotten_when_it_has_ended_by_its_tenant(job_store: JobStore) -> None:
    job, lease = leased(job_store, [a_line(1), a_line(2, 1)])
    other, other_lease = leased(job_store, lines(1), tenant="else")
    job_store.intend(lease, an_intent(job), ["line-1"])
    job_store.requeue(lease, ["line-1"])
    for one, name in [(lease, "line-1"), (other_lease, "line-1")]:
        job_store.settle(one, [answered(name)])
    with pytest.raises(InUse):
        job_store.remove(job.id, "acme")
    job_store.set_state(lease, COMPLETED)
    assert not job_store.remove(job.id, "else")
    assert len(list(job_store.results(job.id))) == 2
    assert job_store.remove(job.id, "acme")
    assert not job_store.remove(job.id, "acme")
    assert job_store.job(job.id, None) is None
    assert (list(job_store.results(job.id)), job_store.shards(job.id)) == ([], [])
    # What another job was answered by the same bytes stays.
    assert [row.settled for row in job_store.results(other.id)] == [answered("line-1")]
    with pytest.raises(Fenced):
        job_store.set_state(lease, COMPLETED)


# Leases.


def test_2_one_worker_at_a_time_and_each_with_a_higher_fence(
    job_store: JobStore, job_clock: FakeClock
) -> None:
    job, first = leased(job_store, lines(1))
    assert job_store.claim(job.id, "other", LEASE_S) is None
    job_clock.advance(LEASE_S - 1)
    job_store.renew(first, LEASE_S)
    job_clock.advance(LEASE_S - 1)
    assert job_store.claim(job.id, "other", LEASE_S) is None
    job_clock.advance(1)
    second = job_store.claim(job.id, "other", LEASE_S)
    assert second == Lease(job.id, "other", first.fence + 1)
    job_store.release(second)
    third = job_store.claim(job.id, "worker", LEASE_S)
    assert third == Lease(job.id, "worker", first.fence + 2)
    assert job_store.claim("job_unknown", "worker", LEASE_S) is None


def test_2_a_lease_that_ran_out_is_good_until_somebody_takes_it(
    job_store: JobStore, job_clock: FakeClock
) -> None:
    job, lease = leased(job_store, lines(2))
    job_clock.advance(LEASE_S * 3)
    assert job_store.settle(lease, [answered("line-1")]) == 1
    job_store.renew(lease, LEASE_S)
    assert job_store.claim(job.id, "other", LEASE_S) is None


def writes(job_store: JobStore, job: Job, shard: str) -> dict[str, Callable[[Lease], object]]:
    return {
        "renew": lambda lease: job_store.renew(lease, LEASE_S),
        "set_state": lambda lease: job_store.set_state(lease, COMPLETED),
        "settle": lambda lease: job_store.settle(lease, [answered("line-1")]),
        "requeue": lambda lease: job_store.requeue(lease, ["line-2"]),
        "intend": lambda lease: job_store.intend(lease, an_intent(job), ["line-1"]),
        "advance": lambda lease: job_store.advance(lease, shard, UPLOADED),
    }


@pytest.mark.parametrize("how", ["taken over", "released", "forged"])
@pytest.mark.parametrize("write", list(writes(None, None, "")))  # type: ignore[arg-type]
def test_2_every_write_of_a_lost_lease_is_refused_and_changes_nothing(
    job_store: JobStore, job_clock: FakeClock, how: str, write: str
) -> None:
    job, lease = leased(job_store, lines(2))
    shard = job_store.intend(lease, an_intent(job), ["line-2"])
    stale = lease
    if how == "taken over":
        job_clock.advance(LEASE_S)
        assert job_store.claim(job.id, "other", LEASE_S) is not None
    elif how == "released":
        job_store.release(lease)
    else:
        stale = Lease(job.id, "other", lease.fence)
    before = job_store.job(job.id, None), job_store.shards(job.id), job_store.shard_items(shard.id)
    with pytest.raises(Fenced):
        writes(job_store, job, shard.id)[write](stale)
    job_store.release(stale)
    assert (
        job_store.job(job.id, None),
        job_store.shards(job.id),
        job_store.shard_items(shard.id),
    ) == before
    assert list(job_store.results(job.id)) == []
    if how == "taken over":
        assert job_store.claim(job.id, "third", LEASE_S) is None, "its successor's lease stays"


def test_what_nobody_works_on_is_claimable_the_oldest_first(
    job_store: JobStore, job_clock: FakeClock
) -> None:
    jobs = [made(job_store, lines(1)) for _ in range(3)]
    ids = [job.id for job in jobs]
    assert job_store.claimable() == ids
    lease = job_store.claim(ids[1], "worker", LEASE_S)
    assert lease is not None
    assert job_store.claimable() == [ids[0], ids[2]]
    job_clock.advance(LEASE_S)
    assert job_store.claimable() == ids
    job_store.set_state(lease, JOB_FAILED)
    assert job_store.claimable() == [ids[0], ids[2]]
    job_store.ask_cancel(ids[2], None)
    assert [(one.id, one.is_cancelled) for one in job_store.waiting()] == [
        (ids[0], False), (ids[2], True),
    ]  # fmt: skip
    assert {one.tenant for one in job_store.waiting()} == {jobs[0].tenant}
