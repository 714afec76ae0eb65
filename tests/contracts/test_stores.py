"""Every promise of stores/base.py, asked of every store. The numbers are those of its promises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stores.samples import NOW_S, SCOPE, entry_of, key_of

from headgate.stores.base import Store
from headgate.stores.codec import encode
from headgate.stores.memory import MemoryStore
from headgate.stores.sqlite import SqliteStore
from headgate.testing import FakeClock
from headgate.types import Entry, Selection

CONTENT = b"x" * 2000
KEEP_STALE_S = 30.0
Opened = Callable[[int], Store]


def charge(entry: Entry, store: Store) -> int:
    return len(encode(entry)) if store.blocking else entry.size_bytes


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens a store that holds so many of the entries that these tests put."""
    stores: list[Store] = []

    def open_store(entries_max: int) -> Store:
        sample = entry_of(content=CONTENT)
        if request.param == "memory":
            store: Store = MemoryStore(1000, entries_max * sample.size_bytes, KEEP_STALE_S)
        else:
            bytes_max = entries_max * len(encode(sample))
            store = SqliteStore(tmp_path / "cache.db", bytes_max, FakeClock(), KEEP_STALE_S)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opened) -> Store:
    return opened(100)


def numbered(number: int) -> Entry:
    return entry_of(number, b"%d." % number * 400)


def found(
    store: Store, number: int = 1, now_s: float = NOW_S, stale_s: float = 0.0
) -> Entry | None:
    return store.get(key_of(number), SCOPE, now_s, stale_s)


# 1. Exactly as put, or None.


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("kind", ["whole", "stream", "value"])
@pytest.mark.parametrize("content", [b"", b"null", bytes(range(256)), b"\xff" * 100_000])
def test_1_an_entry_comes_back_as_it_was_put(
    store: Store, flushed: bool, kind: str, content: bytes
) -> None:
    entry = entry_of(content=content, kind=kind)
    store.put(entry, NOW_S)
    if flushed:
        store.flush()
    assert found(store) == entry


def test_1_an_unknown_key_is_none(store: Store) -> None:
    store.put(entry_of(1), NOW_S)
    assert found(store, 2) is None


@pytest.mark.parametrize("flushed", [False, True])
def test_1_another_scope_is_none(store: Store, flushed: bool) -> None:
    store.put(entry_of(), NOW_S)
    if flushed:
        store.flush()
    assert store.get(key_of(1), b"t" * 32, NOW_S) is None


def test_1_a_second_put_replaces_the_first(store: Store) -> None:
    store.put(entry_of(content=b"old"), NOW_S)
    store.flush()
    store.put(entry_of(content=b"new"), NOW_S)
    assert found(store) == entry_of(content=b"new")
    store.flush()
    assert found(store) == entry_of(content=b"new")
    assert store.stats().entries == 1


@pytest.mark.parametrize("flushed", [False, True])
def test_1_what_cannot_be_kept_does_not_leave_its_predecessor(store: Store, flushed: bool) -> None:
    for number, unkept in ((1, entry_of(1, b"x" * 300_000)), (2, entry_of(2, ttl_s=-1.0))):
        store.put(entry_of(number, b"old"), NOW_S)
        store.put(unkept, NOW_S)
    if flushed:
        store.flush()
        assert found(store, 1) is None
    assert found(store, 2) is None


# 2. Time.


@pytest.mark.parametrize("flushed", [False, True])
def test_2_an_entry_lives_until_its_time_and_not_longer(store: Store, flushed: bool) -> None:
    store.put(entry_of(ttl_s=60.0), NOW_S)
    if flushed:
        store.flush()
    assert found(store, now_s=NOW_S + 59.9) is not None
    assert found(store, now_s=NOW_S + 60.0) is None


@pytest.mark.parametrize("flushed", [False, True])
def test_2_a_stale_entry_is_there_for_who_accepts_it_and_for_so_long(
    store: Store, flushed: bool
) -> None:
    store.put(entry_of(ttl_s=60.0), NOW_S)
    if flushed:
        store.flush()
    assert found(store, now_s=NOW_S + 75) is None
    store.flush()
    assert found(store, now_s=NOW_S + 75, stale_s=15.0) is None
    assert found(store, now_s=NOW_S + 75, stale_s=15.1) is not None
    assert found(store, now_s=NOW_S + 75) is None


def test_2_an_entry_past_its_time_is_removed_when_asked_for_and_counted(store: Store) -> None:
    store.put(entry_of(ttl_s=60.0), NOW_S)
    store.flush()
    assert found(store, now_s=NOW_S + 61 + KEEP_STALE_S) is None
    store.flush()
    stats = store.stats()
    assert (stats.entries, stats.size_bytes, stats.expirations, stats.misses) == (0, 0, 1, 1)


def test_2_an_entry_past_its_time_is_not_kept_at_all(store: Store) -> None:
    store.put(entry_of(ttl_s=60.0), NOW_S + 60)
    store.flush()
    assert found(store) is None
    assert store.stats().entries == 0


# 4. Bytes.


def test_4_size_stays_at_or_below_the_bound_and_evictions_are_counted(opened: Opened) -> None:
    store = opened(10)
    for number in range(1, 31):
        store.put(entry_of(number, CONTENT), NOW_S + number)
    store.flush()
    stats = store.stats()
    assert (stats.entries, stats.evictions) == (10, 20)
    assert stats.size_bytes == 10 * charge(entry_of(1, CONTENT), store)
    kept = [number for number in range(1, 31) if found(store, number)]
    assert kept == list(range(21, 31))


def test_4_an_entry_that_was_read_outlives_one_that_was_not(opened: Opened) -> None:
    store = opened(3)
    for number in (1, 2, 3):
        store.put(entry_of(number, CONTENT), NOW_S)
        store.flush()
    assert found(store, 1, NOW_S + 20) is not None
    store.put(entry_of(4, CONTENT), NOW_S + 30)
    store.flush()
    assert found(store, 1, NOW_S + 31) is not None
    assert sum(found(store, number, NOW_S + 31) is None for number in (2, 3)) == 1


def test_4_an_entry_larger_than_the_bound_is_not_kept_and_removes_no_other(opened: Opened) -> None:
    store = opened(2)
    store.put(entry_of(1, CONTENT), NOW_S)
    store.put(entry_of(2, CONTENT * 10), NOW_S)
    store.flush()
    assert found(store, 1) is not None
    assert found(store, 2) is None


def test_4_an_entry_of_exactly_the_bound_is_kept(opened: Opened) -> None:
    store = opened(1)
    store.put(entry_of(1, CONTENT), NOW_S)
    store.flush()
    assert found(store, 1) is not None


# 5. Threads.


def test_5_any_thread_may_call_anything(opened: Opened) -> None:
    store = opened(20)
    start = threading.Barrier(8)

    def hammer(seed: int) -> None:
        start.wait()
        for step in range(60):
            number = (seed * 7 + step) % 40
            store.put(numbered(number), NOW_S)
            other = (number * 3) % 40
            assert found(store, other) in (None, numbered(other))
            if step % 20 == seed:
                store.remove(Selection(key=key_of(number)), now_s=NOW_S)
                store.list(now_s=NOW_S, limit=3)
                store.stats()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hammer, range(8)))
    store.flush()
    stats = store.stats()
    assert (stats.errors, stats.integrity_failures) == (0, 0)
    assert stats.size_bytes == sum(charge(e, store) for e in store.list(now_s=NOW_S, limit=100))


# Selections, listing, counters, end.


SELECTIONS = [
    Selection(),
    Selection(model="gpt-4o"),
    Selection(namespace="night"),
    Selection(namespace=""),
    Selection(tag="a"),
    Selection(tag="a,b"),
    Selection(older_than_s=100.0),
    Selection(older_than_s=99.9),
    Selection(key=key_of(3)),
    Selection(key=key_of(77)),
    Selection(scope=b"t" * 32),
    Selection(model="gpt-4o", tag="quo\"te'", older_than_s=50.0),
    Selection(model="\ud800"),
]
ENTRIES = [
    entry_of(1),
    entry_of(2, model="other"),
    entry_of(3, namespace=""),
    entry_of(4, tags=()),
    entry_of(5, created_s=NOW_S - 100),
    entry_of(6, created_s=NOW_S - 60, tags=("quo\"te'", "ü")),
    entry_of(7, scope=b"t" * 32),
    entry_of(8, created_s=NOW_S - 3599),
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_remove_and_list_agree_with_the_selection(store: Store, selection: Selection) -> None:
    for entry in ENTRIES:
        store.put(entry, NOW_S)
    expected = {entry.key for entry in ENTRIES if selection.matches(entry, NOW_S)}
    listed = store.list(selection, now_s=NOW_S, limit=100)
    assert {entry.key for entry in listed} == expected
    assert all(entry in ENTRIES for entry in listed)
    assert store.remove(selection, now_s=NOW_S, dry_run=True) == len(expected)
    assert store.remove(selection, now_s=NOW_S) == len(expected)
    left = {entry.key for entry in store.list(now_s=NOW_S, limit=100)}
    assert left == {entry.key for entry in ENTRIES} - expected


def test_removal_takes_what_was_put_just_before_it(store: Store) -> None:
    for number in range(50):
        store.put(entry_of(number), NOW_S)
    assert store.remove(now_s=NOW_S) == 50
    assert [number for number in range(50) if found(store, number)] == []
    assert store.stats().entries == store.stats().size_bytes == 0


def test_an_entry_can_be_put_again_after_its_removal(store: Store) -> None:
    store.put(entry_of(), NOW_S)
    store.remove(now_s=NOW_S)
    store.put(entry_of(), NOW_S)
    store.flush()
    assert found(store) == entry_of()


def test_a_listing_is_limited_and_begins_with_the_latest(store: Store) -> None:
    for number in range(1, 6):
        store.put(entry_of(number), NOW_S + number)
    found(store, 2, NOW_S + 20)
    keys = [entry.key for entry in store.list(now_s=NOW_S + 20, limit=3)]
    assert keys == [key_of(2), key_of(5), key_of(4)]


@pytest.mark.parametrize("limit", [0])
def test_a_listing_of_none_is_empty(store: Store, limit: int) -> None:
    store.put(entry_of(), NOW_S)
    assert store.list(now_s=NOW_S, limit=limit) == []


def test_hits_and_misses_are_counted_once_each(store: Store) -> None:
    store.put(entry_of(1), NOW_S)
    found(store, 1)
    store.flush()
    for number in (1, 2, 2):
        found(store, number)
    assert (store.stats().hits, store.stats().misses) == (2, 2)


def test_stats_count_entries_and_bytes(store: Store) -> None:
    for number in range(3):
        store.put(entry_of(number, CONTENT), NOW_S)
    store.flush()
    stats = store.stats()
    assert (stats.entries, stats.size_bytes) == (3, 3 * charge(entry_of(1, CONTENT), store))


def test_after_closing_every_call_is_harmless(store: Store) -> None:
    store.put(entry_of(), NOW_S)
    store.close()
    store.close()
    store.put(entry_of(2), NOW_S)
    store.flush()
    assert store.remove(now_s=NOW_S) in (0, 1)
    assert found(store, 1) is None
    assert store.list(now_s=NOW_S, limit=5) == []
    assert store.stats().size_bytes == 0
