"""The writer of the disk tier: its queue, its bounds, and what it does when writing fails.

A connection is made unwritable by `PRAGMA query_only`; it fails once and is then thrown away.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores.samples import NOW_S, entry_of, key_of

from headgate.stores import sqlite_rows, sqlite_writer
from headgate.stores.codec import encode
from headgate.stores.sqlite_file import CONNECTIONS_MAX, DatabaseFile
from headgate.stores.sqlite_writer import Tally, Writer
from headgate.testing import FakeClock
from headgate.types import Selection

BYTES_MAX = 10_000_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def file(tmp_path: Path, clock: FakeClock) -> Iterator[DatabaseFile]:
    file = DatabaseFile(tmp_path / "cache.db", clock)
    yield file
    file.close()


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def writer(file: DatabaseFile, clock: FakeClock, tally: Tally) -> Iterator[Writer]:
    writer = Writer(file, BYTES_MAX, clock, tally)
    yield writer
    writer.close()


def rows(file: DatabaseFile) -> int:
    with file.connection() as connection:
        return sqlite_rows.totals(connection)[0]


def refuse_writes(file: DatabaseFile, times: int) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(times):
            stack.enter_context(file.connection()).pragma("query_only", True)


@contextlib.contextmanager
def paused(file: DatabaseFile) -> Iterator[None]:
    """Takes every connection, so that the writer waits for one."""
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            stack.enter_context(file.connection())
        yield


def test_what_waits_is_pending_and_what_is_written_is_not(
    writer: Writer, file: DatabaseFile
) -> None:
    with paused(file):
        writer.put(entry_of(), NOW_S)
        assert writer.pending(key_of(1)) == entry_of()
    writer.flush()
    assert writer.pending(key_of(1)) is None
    assert rows(file) == 1


def test_the_latest_of_two_that_wait_is_pending_and_written(
    writer: Writer, file: DatabaseFile
) -> None:
    with paused(file):
        writer.put(entry_of(content=b"old"), NOW_S)
        writer.put(entry_of(content=b"new"), NOW_S)
        assert writer.pending(key_of(1)) == entry_of(content=b"new")
    writer.flush()
    with file.connection() as connection:
        found = sqlite_rows.find(connection, key_of(1))
    assert found == (encode(entry_of(content=b"new")), NOW_S)


def test_a_full_queue_drops_the_entry_and_counts_an_error(
    writer: Writer, file: DatabaseFile, tally: Tally
) -> None:
    room = sqlite_writer.QUEUE_MAX + sqlite_writer.BATCH_MAX
    with paused(file):
        for number in range(room + 10):
            writer.put(entry_of(number), NOW_S)
        dropped = tally.counts()["errors"]
        assert 10 <= dropped <= 10 + sqlite_writer.BATCH_MAX
        assert writer.pending(key_of(room + 9)) is None
    writer.flush()
    assert rows(file) == room + 10 - dropped


def test_a_queue_with_too_many_bytes_drops_the_entry_and_counts_an_error(
    writer: Writer, file: DatabaseFile, tally: Tally
) -> None:
    content = bytes(sqlite_writer.QUEUE_BYTES_MAX // 4)
    with paused(file):
        for number in range(10):
            writer.put(entry_of(number, content), NOW_S)
        assert tally.counts()["errors"] == 10 - 4
    writer.flush()
    writer.put(entry_of(11), NOW_S)
    writer.flush()
    assert tally.counts()["errors"] == 10 - 4, "the bytes are given back"
    assert rows(file) == 1, "each of the four is larger than the bound of the file"


def test_a_removal_takes_what_waits_before_it_and_leaves_what_comes_after(
    writer: Writer, file: DatabaseFile
) -> None:
    counts: list[int] = []
    with paused(file):
        writer.put(entry_of(1), NOW_S)
        remover = threading.Thread(target=lambda: counts.append(writer.remove(Selection(), NOW_S)))
        remover.start()
    remover.join()
    writer.put(entry_of(2), NOW_S)
    writer.flush()
    assert (counts, rows(file)) == ([1], 1)


def test_a_failed_write_drops_its_entries_and_turns_writes_off_for_thirty_seconds(
    writer: Writer, file: DatabaseFile, tally: Tally, clock: FakeClock
) -> None:
    refuse_writes(file, 1)
    writer.put(entry_of(1), NOW_S)
    writer.flush()
    assert writer.pending(key_of(1)) is None
    clock.advance(29.9)
    writer.put(entry_of(2), NOW_S)
    writer.flush()
    assert (rows(file), tally.counts()["errors"]) == (0, 2)
    clock.advance(0.2)
    writer.put(entry_of(3), NOW_S)
    writer.flush()
    assert (rows(file), tally.counts()["errors"]) == (1, 2)


def test_an_outage_of_writes_is_told_once(
    writer: Writer, file: DatabaseFile, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        refuse_writes(file, 1)
        writer.put(entry_of(number), NOW_S)
        writer.flush()
        clock.advance(31)
    assert len([r for r in caplog.records if "writes to the disk tier are off" in r.message]) == 1


def test_a_removal_succeeds_where_the_entries_of_its_batch_cannot_be_written(
    writer: Writer, file: DatabaseFile, tally: Tally
) -> None:
    writer.put(entry_of(1), NOW_S)
    writer.flush()
    refuse_writes(file, 1)
    assert writer.remove(Selection(), NOW_S) == 1
    assert (rows(file), tally.counts()["errors"]) == (0, 0)


def test_what_cannot_be_removed_is_hidden_until_it_is(
    writer: Writer, file: DatabaseFile, tally: Tally, clock: FakeClock
) -> None:
    writer.put(entry_of(1), NOW_S)
    writer.put(entry_of(2, model="other"), NOW_S)
    writer.flush()
    refuse_writes(file, 2)
    assert writer.remove(Selection(model="gpt-4o"), NOW_S + 1) == 0
    assert tally.counts()["errors"] == 1
    assert writer.hides(entry_of(1))
    assert not writer.hides(entry_of(2, model="other"))
    assert not writer.hides(entry_of(1, created_s=NOW_S + 2)), "younger than the removal"
    clock.advance(31)
    writer.put(entry_of(3, created_s=NOW_S + 31), NOW_S + 31)
    writer.flush()
    assert not writer.hides(entry_of(1))
    assert rows(file) == 2


def test_too_many_removals_that_wait_hide_everything(writer: Writer, file: DatabaseFile) -> None:
    for number in range(101):
        refuse_writes(file, 2)
        writer.remove(Selection(key=key_of(number)), NOW_S)
    assert writer.hides(entry_of(5_000))


def test_what_cannot_be_encoded_is_counted_and_stops_no_other(
    writer: Writer, file: DatabaseFile, tally: Tally
) -> None:
    with paused(file):
        for entry in (entry_of(1), entry_of(2, model="\ud800"), entry_of(3)):
            writer.put(entry, NOW_S)
    writer.flush()
    assert (rows(file), tally.counts()["errors"]) == (2, 1)


def test_an_object_is_not_written_and_is_no_error(
    writer: Writer, file: DatabaseFile, tally: Tally
) -> None:
    writer.put(entry_of(kind="object", held=object()), NOW_S)
    writer.flush()
    assert (rows(file), tally.counts()["errors"]) == (0, 0)


def test_cleaning_goes_on_until_nothing_is_past_its_time(
    writer: Writer, file: DatabaseFile, tally: Tally, clock: FakeClock
) -> None:
    for number in range(1500):
        writer.put(entry_of(number, ttl_s=10.0), NOW_S)
    writer.flush()
    clock.advance(sqlite_writer.CLEAN_EVERY_S)
    writer.flush()
    writer.flush()
    assert (rows(file), tally.counts()["expirations"]) == (0, 1500)


def test_closing_writes_what_waits_ends_the_thread_and_may_be_repeated(
    writer: Writer, file: DatabaseFile
) -> None:
    before = set(threading.enumerate())
    with paused(file):
        for number in range(120):
            writer.put(entry_of(number), NOW_S)
        assert begun_since(before)
    writer.close()
    writer.close()
    assert rows(file) == 120
    assert not begun_since(before)
    writer.put(entry_of(500), NOW_S)
    writer.flush()
    assert writer.pending(key_of(500)) is None


def test_a_writer_without_jobs_starts_no_thread(writer: Writer) -> None:
    before = set(threading.enumerate())
    assert writer.pending(key_of(1)) is None
    assert not begun_since(before)


def begun_since(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads of writers; those of another test may still be there, or end meanwhile."""
    return [one for one in {*threading.enumerate()} - before if one.name == "headgate-disk"]
