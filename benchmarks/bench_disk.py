"""The disk tier: what an entry costs to put, to write and to read, for answers of 2 KB and 64 KB.

`put` is the caller's share, before the writer's. `row` is a row written in commits of up to 50,
`commit` a row in a commit of its own. Elapsed and CPU microseconds (of all threads): a disk also
waits. Medians of interleaved rounds, the smallest round beside them.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apsw
from measure import report, rounds

from headgate.clock import SystemClock
from headgate.stores.codec import decode, encode
from headgate.stores.sqlite import SqliteStore
from headgate.types import Entry, Usage

SIZES = {"2 KB": 2_000, "64 KB": 64_000}
ROUNDS = 11
COUNT = 400
COMMITS = 40
SCOPE = b"s" * 32
CLOCK = SystemClock()


def entries_of(size: int) -> list[Entry]:
    """As many as one round puts; contents that do not compress and differ."""
    return [
        Entry(
            key=number.to_bytes(32, "big"),
            scope=SCOPE,
            model="gpt-4o",
            operation="chat",
            created_s=CLOCK.epoch(),
            ttl_s=3600.0,
            content=os.urandom(size),
            headers=((b"content-type", b"application/json"),),
            usage=Usage(900, 300),
            target="openai/gpt-4o",
            finish="stop",
        )
        for number in range(COUNT)
    ]


def elapsed_us(work: Callable[[], None], count: int) -> float:
    started_s = time.perf_counter()
    work()
    return (time.perf_counter() - started_s) * 1e6 / count


class Figures:
    """Measures one size on one file. Each method does one round and returns us per entry."""

    def __init__(self, store: SqliteStore, entries: list[Entry]) -> None:
        self.store = store
        self.entries = entries
        self.encoded = [encode(entry) for entry in entries]

    def put(self) -> float:
        us = elapsed_us(self._put_all, COUNT)
        self.store.flush()
        return us

    def row(self) -> float:
        return elapsed_us(self._put_and_flush, COUNT)

    def row_cpu(self) -> float:
        started_s = time.process_time()
        self._put_and_flush()
        return (time.process_time() - started_s) * 1e6 / COUNT

    def commit(self) -> float:
        def work() -> None:
            for entry in self.entries[:COMMITS]:
                self.store.put(entry, CLOCK.epoch())
                self.store.flush()

        return elapsed_us(work, COMMITS)

    def get(self) -> float:
        def work() -> None:
            for entry in self.entries:
                assert self.store.get(entry.key, SCOPE, CLOCK.epoch()) is not None

        return elapsed_us(work, COUNT)

    def miss(self) -> float:
        def work() -> None:
            for number in range(COUNT):
                self.store.get(number.to_bytes(31, "big") + b"-", SCOPE, CLOCK.epoch())

        return elapsed_us(work, COUNT)

    def encode(self) -> float:
        return elapsed_us(lambda: [encode(entry) for entry in self.entries] and None, COUNT)

    def decode(self) -> float:
        def work() -> None:
            for entry, raw in zip(self.entries, self.encoded, strict=True):
                decode(raw, entry.key, SCOPE)

        return elapsed_us(work, COUNT)

    def _put_all(self) -> None:
        for entry in self.entries:
            self.store.put(entry, CLOCK.epoch())

    def _put_and_flush(self) -> None:
        self._put_all()
        self.store.flush()


def measured(size: int, path: Path) -> dict[str, object]:
    store = SqliteStore(path, 500_000_000, CLOCK)
    figures = Figures(store, entries_of(size))
    figures.row()
    names = ("put", "row", "row_cpu", "commit", "get", "miss", "encode", "decode")
    found = rounds({name: getattr(figures, name) for name in names}, ROUNDS)
    stats = store.stats()
    assert (stats.errors, stats.integrity_failures) == (0, 0)
    store.close()
    return {
        **{
            f"{name}_us": {"median": round(statistics.median(us), 1), "min": round(min(us), 1)}
            for name, us in found.items()
        },
        "entry_bytes": stats.size_bytes // stats.entries,
        "file_bytes_per_entry": path.stat().st_size // stats.entries,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, object] = {
            name: measured(size, Path(folder) / f"{size}.db") for name, size in SIZES.items()
        }
    report("disk", {"sqlite": apsw.sqlite_lib_version(), **results})


if __name__ == "__main__":
    main()
