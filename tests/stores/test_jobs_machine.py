"""The store of jobs against a model of it: two workers, a clock, and whatever they may do to the
lines of a job in any order, with the file closed and opened in between."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from effort import FULL
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stores.jobfiles import LEASE_S, a_line, an_intent, answered, counted, look, made

from headgate.errors import StoreError
from headgate.jobs.base import Fenced
from headgate.jobs.model import Lease, ResultRow
from headgate.jobs.states import (
    ABANDONED,
    CACHE_HIT,
    CREATED,
    INTENT,
    QUEUED,
    SHARDED,
    SUBMITTED,
    SUCCEEDED,
    TERMINAL,
    may_follow,
)
from headgate.stores.jobs import JobsFile
from headgate.testing import FakeClock

WORKERS = st.sampled_from(["ann", "bob"])
NUMBERS = st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True)
ENDS = st.sampled_from(sorted(TERMINAL))
# Lines 4 and 5 are equal to line 1, line 6 to line 2.
QUESTIONS = {1: 1, 2: 2, 3: 3, 4: 1, 5: 1, 6: 2}
LEADERS = {4: 1, 5: 1, 6: 2}


class StoreAgainstModel(RuleBasedStateMachine):
    """The model: a state for each line, the shards, and which worker's lease is the last."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "jobs.db"
        self.clock = FakeClock()
        self.store = self.opened()
        items = [a_line(number, question) for number, question in QUESTIONS.items()]
        self.job = made(self.store, items)
        self.states = dict.fromkeys(QUESTIONS, QUEUED)
        self.shards: dict[str, tuple[str, set[int]]] = {}
        self.leases: dict[str, Lease] = {}
        self.holder, self.until_s, self.fence = "", 0.0, 0
        self.rows: dict[int, ResultRow] = {}

    def opened(self) -> JobsFile:
        store = JobsFile(self.path, self.clock)
        # Every commit would wait for the disk; that is not what is asked here.
        store._writer.pragma("synchronous", "OFF")
        return store

    def is_held(self, worker: str) -> bool:
        lease = self.leases.get(worker)
        return lease is not None and self.holder == worker and lease.fence == self.fence

    @rule(worker=WORKERS)
    def claim(self, worker: str) -> None:
        lease = self.store.claim(self.job.id, worker, LEASE_S)
        is_free = self.holder in ("", worker) or self.until_s <= self.clock.wall()
        assert (lease is not None) == is_free
        if lease is not None:
            assert lease.fence == self.fence + 1
            self.leases[worker] = lease
            self.holder, self.fence = worker, lease.fence
            self.until_s = self.clock.wall() + LEASE_S

    @rule(seconds=st.sampled_from([1.0, LEASE_S]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.leases)
    @rule(worker=WORKERS, is_release=st.booleans())
    def renew_or_release(self, worker: str, is_release: bool) -> None:
        lease = self.leases.get(worker)
        if lease is None:
            return
        if is_release:
            self.store.release(lease)
            self.holder = "" if self.is_held(worker) else self.holder
        elif self.is_held(worker):
            self.store.renew(lease, LEASE_S)
            self.until_s = self.clock.wall() + LEASE_S
        else:
            with pytest.raises(Fenced):
                self.store.renew(lease, LEASE_S)

    @precondition(lambda self: self.leases)
    @rule(worker=WORKERS, numbers=NUMBERS, state=ENDS)
    def settle(self, worker: str, numbers: list[int], state: str) -> None:
        lease = self.leases.get(worker)
        if lease is None:
            return
        ends = [answered(f"line-{number}", state, target=worker) for number in numbers]
        open_ones = [number for number in numbers if self.states[number] not in TERMINAL]
        # One that follows and one that leads it may be named together: the order decides.
        after, is_allowed = dict(self.states), True
        for number in open_ones:
            if after[number] in TERMINAL:
                continue
            is_allowed &= number not in LEADERS and may_follow(after[number], state)
            self.end(after, number, state)
        if not self.is_held(worker):
            with pytest.raises(Fenced):
                self.store.settle(lease, ends)
        elif not is_allowed:
            with pytest.raises(StoreError):
                self.store.settle(lease, ends)
        else:
            changed = sum(after[number] != before for number, before in self.states.items())
            assert self.store.settle(lease, ends) == changed
            self.states = after

    def end(self, states: dict[int, str], number: int, state: str) -> None:
        states[number] = state
        copied = CACHE_HIT if state in (SUCCEEDED, CACHE_HIT) else state
        states.update({follower: copied for follower, one in LEADERS.items() if one == number})

    @precondition(lambda self: self.leases)
    @rule(worker=WORKERS, numbers=NUMBERS)
    def intend(self, worker: str, numbers: list[int]) -> None:
        lease = self.leases.get(worker)
        if lease is None:
            return
        wanted, names = an_intent(self.job), [f"line-{number}" for number in numbers]
        if not self.is_held(worker):
            with pytest.raises(Fenced):
                self.store.intend(lease, wanted, names)
        elif any(self.states[one] != QUEUED or one in LEADERS for one in numbers):
            with pytest.raises(StoreError):
                self.store.intend(lease, wanted, names)
        else:
            shard = self.store.intend(lease, wanted, names)
            self.shards[shard.id] = (INTENT, set(numbers))
            self.states.update(dict.fromkeys(numbers, SHARDED))

    @precondition(lambda self: self.shards and self.leases)
    @rule(worker=WORKERS, place=st.integers(0, 99), state=st.sampled_from([CREATED, ABANDONED]))
    def advance(self, worker: str, place: int, state: str) -> None:
        lease, shard_id = self.leases.get(worker), list(self.shards)[place % len(self.shards)]
        known, numbers = self.shards[shard_id]
        if lease is None:
            return
        if not self.is_held(worker):
            with pytest.raises(Fenced):
                self.store.advance(lease, shard_id, state)
        elif known == ABANDONED and state == CREATED:
            with pytest.raises(StoreError):
                self.store.advance(lease, shard_id, state)
        else:
            self.store.advance(lease, shard_id, state)
            self.shards[shard_id] = (state, numbers)
            for number in numbers if state == CREATED else ():
                if self.states[number] == SHARDED:
                    self.states[number] = SUBMITTED

    @precondition(lambda self: self.leases)
    @rule(worker=WORKERS, number=st.integers(1, 3))
    def requeue(self, worker: str, number: int) -> None:
        lease = self.leases.get(worker)
        if lease is None:
            return
        if not self.is_held(worker):
            with pytest.raises(Fenced):
                self.store.requeue(lease, [f"line-{number}"])
            return
        is_back = self.states[number] in (SHARDED, SUBMITTED)
        assert self.store.requeue(lease, [f"line-{number}"]) == is_back
        if is_back:
            self.states[number] = QUEUED
            for _, numbers in self.shards.values():
                numbers.discard(number)

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = self.opened()

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def agrees(self) -> None:
        wanted = dict(Counter(self.states.values()))
        job = self.store.job(self.job.id, None)
        assert job is not None
        assert job.counts == counted(self.path, self.job) == wanted
        assert job.total == len(QUESTIONS)
        for number, state in self.states.items():
            leads = number not in LEADERS
            listed = {item.line_no for item in self.store.items(self.job.id, state)}
            assert (number in listed) == leads
        for shard_id, (_, numbers) in self.shards.items():
            assert {item.line_no for item in self.store.shard_items(shard_id)} == numbers
        rows = {row.line_no: row for row in self.store.results(self.job.id)}
        assert {number: row.settled.state for number, row in rows.items()} == {
            number: state for number, state in self.states.items() if state in TERMINAL
        }
        # What has been seen once never changes.
        assert {number: rows[number] for number in self.rows} == self.rows
        self.rows = rows
        assert job.cost_nanos == sum(row.settled.cost_nanos or 0 for row in rows.values())
        found = look(self.path, "SELECT fence, lease_owner FROM job")
        assert found == [(self.fence, self.holder)]

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


class TestStoreAgainstModel(StoreAgainstModel.TestCase):
    settings = settings(max_examples=300 if FULL else 40, stateful_step_count=30)
