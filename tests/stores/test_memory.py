"""The memory tier against a model of it that keeps a plain list, and under many threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stores.samples import NOW_S, SCOPE, entry_of, key_of

from headgate.stores.memory import MemoryStore
from headgate.types import Entry, Selection

NUMBERS = st.integers(0, 7)
TTLS = st.sampled_from([-1.0, 5.0, 30.0, 1000.0])
SIZES = st.integers(0, 900)


class MemoryAgainstList(RuleBasedStateMachine):
    """The model: a list of entries, least recently used first, searched from end to end."""

    @initialize(
        maxsize=st.sampled_from([0, 1, 3, 100]), max_bytes=st.sampled_from([0, 2000, 10**6])
    )
    def open(self, maxsize: int, max_bytes: int) -> None:
        self.store = MemoryStore(maxsize, max_bytes)
        self.maxsize, self.max_bytes = maxsize, max_bytes
        self.now_s = NOW_S
        self.entries: list[Entry] = []
        self.counts = {"hits": 0, "misses": 0, "evictions": 0, "expirations": 0}

    def taken_out(self, number: int) -> Entry | None:
        for entry in self.entries:
            if entry.key == key_of(number):
                self.entries.remove(entry)
                return entry
        return None

    def out(self, entry: Entry, fresh: str) -> None:
        self.counts["expirations" if self.now_s >= entry.expires_s else fresh] += 1

    @rule(number=NUMBERS, size=SIZES, ttl_s=TTLS)
    def put(self, number: int, size: int, ttl_s: float) -> None:
        entry = entry_of(number, b"x" * size, created_s=self.now_s, ttl_s=ttl_s)
        self.store.put(entry, self.now_s)
        replaced = self.taken_out(number)
        self.counts["expirations"] += replaced is not None and self.now_s >= replaced.expires_s
        if ttl_s < 0 or self.maxsize == 0 or entry.size_bytes > self.max_bytes:
            return
        self.entries.append(entry)
        while len(self.entries) > self.maxsize or self.size_bytes() > self.max_bytes:
            self.out(self.entries.pop(0), "evictions")

    @rule(number=NUMBERS, own=st.booleans())
    def get(self, number: int, own: bool) -> None:
        got = self.store.get(key_of(number), SCOPE if own else b"t" * 32, self.now_s)
        entry = self.taken_out(number)
        fresh = entry is not None and self.now_s < entry.expires_s
        assert got == (entry if fresh and own else None)
        self.counts["hits" if got else "misses"] += 1
        if entry is not None and not fresh:
            self.counts["expirations"] += 1
        elif entry is not None:
            place = len(self.entries) if own else self.place_of[number]
            self.entries.insert(place, entry)

    @rule(number=NUMBERS)
    def peek(self, number: int) -> None:
        got = self.store.peek(key_of(number), self.now_s)
        entry = next((e for e in self.entries if e.key == key_of(number)), None)
        assert got == (entry if entry and self.now_s < entry.expires_s else None)
        if got is not None:
            self.entries.append(self.taken_out(number) or got)

    @rule(number=NUMBERS, dry_run=st.booleans())
    def remove(self, number: int, dry_run: bool) -> None:
        selection = Selection(key=key_of(number))
        count = self.store.remove(selection, now_s=self.now_s, dry_run=dry_run)
        assert count == sum(e.key == key_of(number) for e in self.entries)
        if not dry_run:
            self.taken_out(number)

    @rule()
    def clear(self) -> None:
        assert self.store.remove(now_s=self.now_s) == len(self.entries)
        self.entries.clear()

    @rule(seconds=st.sampled_from([1.0, 6.0, 40.0]))
    def advance(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def agrees(self) -> None:
        listed = self.store.list(now_s=self.now_s, limit=100)
        assert listed == self.entries[::-1]
        stats = self.store.stats()
        assert (stats.entries, stats.size_bytes) == (len(self.entries), self.size_bytes())
        assert stats.entries <= self.maxsize
        assert stats.size_bytes <= self.max_bytes
        assert {name: getattr(stats, name) for name in self.counts} == self.counts
        self.place_of = {
            int.from_bytes(e.key, "big"): place for place, e in enumerate(self.entries)
        }

    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries)


class TestMemoryAgainstList(MemoryAgainstList.TestCase):
    settings = settings(max_examples=150, stateful_step_count=40)


@pytest.mark.parametrize("bounds", [(0, 10**6), (10, 0)], ids=["entries", "bytes"])
def test_a_bound_of_zero_keeps_none(bounds: tuple[int, int]) -> None:
    store = MemoryStore(*bounds)
    store.put(entry_of(), NOW_S)
    assert store.get(key_of(1), SCOPE, NOW_S) is None
    assert store.stats().size_bytes == 0


@pytest.mark.parametrize("bound", [-1, 1.5, "64MB", None])
@pytest.mark.parametrize("name", ["maxsize", "max_bytes"])
def test_a_bound_that_makes_no_sense_is_refused_before_it_costs_an_answer(
    name: str, bound: Any
) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 0"):
        MemoryStore(**{name: bound})


def test_a_peek_counts_nothing() -> None:
    store = MemoryStore()
    store.put(entry_of(), NOW_S)
    assert store.peek(key_of(1), NOW_S) == entry_of()
    assert store.peek(key_of(2), NOW_S) is None
    assert (store.stats().hits, store.stats().misses) == (0, 0)


def test_a_peek_keeps_an_entry_from_being_the_least_recently_used() -> None:
    store = MemoryStore(maxsize=2)
    for number in (1, 2):
        store.put(entry_of(number), NOW_S)
    store.peek(key_of(1), NOW_S)
    store.put(entry_of(3), NOW_S)
    assert [number for number in (1, 2, 3) if store.peek(key_of(number), NOW_S)] == [1, 3]


def test_an_object_is_kept_as_it_is() -> None:
    thing = object()
    store = MemoryStore()
    store.put(entry_of(kind="object", held=thing, content=b""), NOW_S)
    entry = store.get(key_of(1), SCOPE, NOW_S)
    assert entry is not None
    assert entry.held is thing


@pytest.mark.usefixtures("impatient")
def test_any_mixture_of_calls_from_many_threads_leaves_the_sums_right() -> None:
    store = MemoryStore(maxsize=5)
    start = threading.Barrier(6)

    def hammer(seed: int) -> None:
        start.wait()
        for step in range(30000):
            number = (step * (seed + 3)) % 11
            if seed % 2:
                store.put(entry_of(number, b"x" * number), NOW_S)
            else:
                seen = store.peek(key_of(number), NOW_S)
                assert seen is None or len(seen.content) == number
            if step % 500 == seed:
                assert len(store.list(now_s=NOW_S, limit=9)) <= 5
                store.remove(Selection(key=key_of(number)), now_s=NOW_S)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(hammer, range(6)))
    listed = store.list(now_s=NOW_S, limit=100)
    assert store.stats().entries == len(listed) <= 5
    assert store.stats().size_bytes == sum(entry.size_bytes for entry in listed)
