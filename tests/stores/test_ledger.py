"""The ledger on disk: written, flushed, kept within bounds, killed, full, broken while in use."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from effort import FULL
from stores.disk import check
from stores.ledgers import DAY_S, a_ledger, a_row, started, written

from headgate.core.booking import AVOIDED_EXACT
from headgate.stores.ledger import SPOOL_MAX, LedgerFile, read_rows, read_sums
from headgate.testing import FakeClock

KILLED = 100 if FULL else 10


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path, clock: FakeClock) -> Iterator[LedgerFile]:
    ledger = a_ledger(path, clock)
    yield ledger
    ledger.close()


def test_what_was_flushed_is_there_as_it_was_given(ledger: LedgerFile, path: Path) -> None:
    rows = [
        a_row(1), a_row(2, cost_nanos=None), a_row(3, kind=AVOIDED_EXACT, calls=9, at_s=5.5),
        a_row(4, is_estimated=True, model="a'; DROP TABLE booked --", target="\ud800"),
    ]  # fmt: skip
    ledger.append(rows)
    assert ledger.flush()
    found = written(path)
    assert found[:3] == rows[:3]
    assert (found[3].model, found[3].row.target) == (rows[3].model, "?")


def test_closing_writes_what_waits(ledger: LedgerFile, path: Path) -> None:
    ledger.append([a_row(1)])
    ledger.close()
    assert written(path) == [a_row(1)]
    ledger.append([a_row(2)])
    assert ledger.lost == 1
    assert ledger.flush(), "there is nothing to flush any more"


def test_who_appends_last_is_asked_before_each_flush(ledger: LedgerFile, path: Path) -> None:
    late = [a_row(1)]
    ledger.before_writing = lambda: ledger.append([late.pop()] if late else [])
    assert ledger.flush()
    assert written(path) == [a_row(1)]


def test_rows_go_by_age_and_their_sums_stay(path: Path, clock: FakeClock) -> None:
    now_s = clock.epoch()
    ledger = a_ledger(path, clock, keep_s=2 * DAY_S)
    ledger.append([a_row(n, now_s - days * DAY_S) for n, days in enumerate((5, 5, 4, 1, 0))])
    assert ledger.flush()
    before = read_sums(path)
    clock.advance(61)
    assert ledger.flush()
    ledger.append([])
    ledger.close()
    assert [booked.row.cost_nanos for booked in written(path)] == [3, 4]
    assert read_sums(path) == before
    assert sum(one.amount.nanos for one in before) == 0 + 1 + 2 + 3 + 4


def test_rows_go_by_number_and_their_sums_stay(path: Path, clock: FakeClock) -> None:
    ledger = a_ledger(path, clock, most=10)
    for number in range(50):
        ledger.append([a_row(number, clock.epoch())])
    assert ledger.flush()
    clock.advance(61)
    ledger.append([a_row(50, clock.epoch())])
    ledger.close()
    assert [booked.row.cost_nanos for booked in written(path)] == list(range(41, 51))
    assert sum(one.amount.nanos for one in read_sums(path)) == sum(range(51))


def test_rows_of_a_time_are_read(ledger: LedgerFile, path: Path) -> None:
    ledger.append([a_row(n, float(n)) for n in range(10)])
    ledger.flush()
    assert [b.at_s for b in read_rows(path, 3.0, 6.0)] == [3.0, 4.0, 5.0]


def test_a_full_disk_stops_nothing_is_told_and_loses_nothing_that_has_room(
    ledger: LedgerFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A page limit stands for the disk: SQLite reports both as SQLITE_FULL.
    with caplog.at_level(logging.WARNING):
        ledger.append([a_row(1)])
        assert ledger.flush()
        assert ledger._connection is not None
        ledger._connection.pragma("max_page_count", 1)
        ledger.append([a_row(n) for n in range(2, 400)])
        assert not ledger.flush()
        assert ledger.problem() == "the ledger cannot be written: 398 rows wait, 0 are lost"
    assert ledger.errors == 1
    assert len([one for one in caplog.records if one.name == "headgate.stores.ledger"]) == 1
    # The next attempt opens the file anew, without the limit.
    assert ledger.flush()
    assert ledger.problem() == ""
    assert written(path) == [a_row(n) for n in range(1, 400)]


def test_what_is_too_much_for_the_memory_is_counted(
    ledger: LedgerFile, path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # The disk is not there for a while.
    away = path.parent.rename(tmp_path_factory.mktemp("away") / "disk")
    rows = [a_row(n) for n in range(SPOOL_MAX + 3)]
    ledger.append(rows)
    assert not ledger.flush()
    assert ledger.lost == 3
    assert "3 are lost" in ledger.problem()
    away.rename(path.parent)
    assert ledger.flush()
    assert len(written(path)) == SPOOL_MAX


def test_a_file_that_breaks_while_in_use_stops_nothing(ledger: LedgerFile, path: Path) -> None:
    ledger.append([a_row(1)])
    assert ledger.flush()
    ledger._disconnect()
    for suffix in ("", "-wal"):
        file = Path(f"{path}{suffix}")
        if file.exists():
            file.write_bytes(b"\xff" * 20_000)
    ledger.append([a_row(2)])
    assert not ledger.flush()
    assert ledger.problem().startswith("the ledger cannot be written: 1 rows wait")


def test_many_threads_lose_nothing(ledger: LedgerFile, path: Path) -> None:
    def append(first: int) -> None:
        for number in range(first, first + 500):
            ledger.append([a_row(number)])

    threads = [threading.Thread(target=append, args=(n * 500,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.flush()
    assert sorted(b.row.cost_nanos or 0 for b in written(path)) == list(range(2000))


def test_several_processes_write_to_one_file(path: Path) -> None:
    processes = [started("write", path, seed, 350) for seed in range(3)]
    told = [process.communicate(timeout=60)[0] for process in processes]
    acknowledged = {int(number) for text in told for number in text.split()}
    assert len(acknowledged) == 3 * 350
    assert {booked.row.cost_nanos for booked in written(path)} == acknowledged


def test_a_kill_loses_nothing_that_was_acknowledged(path: Path) -> None:
    acknowledged: set[int] = set()
    for seed in range(KILLED):
        process = started("write", path, seed)
        assert process.stdout is not None
        for _ in range(1 + seed % 5):
            acknowledged.update(map(int, process.stdout.readline().split()))
        process.kill()
        acknowledged.update(map(int, _whole_lines(process.communicate(timeout=60)[0])))
        assert check(path) == "ok"
    found = [booked.row.cost_nanos for booked in written(path)]
    assert acknowledged <= set(found)
    assert len(acknowledged) >= 7 * KILLED
    assert len(found) == len(set(found)), "nothing is written twice"


def _whole_lines(text: str) -> list[str]:
    return text[: text.rfind("\n") + 1].split()
