"""A process that uses a disk tier until it is told to end, or is killed. Not a test: the tests of
the disk tier start it. Prints one line for each thing that is done, as soon as it is done.

    disk_process.py write PATH SEED          puts and flushes for ever; prints the numbers flushed
    disk_process.py share PATH SEED COUNT    puts, gets, removes; prints its counters as JSON
    disk_process.py fill PATH BYTES_MAX      lets no file grow beyond so many bytes (0: no limit);
                                             fills it, then reads; prints its counters as JSON
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import msgspec
from stores.samples import SCOPE, entry_of, key_of

from headgate.clock import SystemClock
from headgate.stores.sqlite import SqliteStore
from headgate.types import Entry, Selection

CLOCK = SystemClock()


def numbered(number: int, bytes_each: int = 20_000) -> Entry:
    """An entry whose content says which it is, to its end; every second one is a stream."""
    content = (b"%d." % number) * (bytes_each // len(b"%d." % number))
    stream: dict[str, Any] = {"kind": "stream", "usage_at": (number, number + 9)}
    differs = stream if number % 2 else {}
    return entry_of(number, content, created_s=CLOCK.epoch(), **differs)


def write(path: str, seed: str) -> None:
    store = SqliteStore(Path(path), 5_000_000, CLOCK)
    number = int(seed) * 1_000_000
    while True:
        numbers = range(number, number + 7)
        for number in numbers:
            store.put(numbered(number), CLOCK.epoch())
        store.flush()
        print(*numbers, flush=True)
        number += 1


def share(path: str, seed: str, count: str) -> None:
    store = SqliteStore(Path(path), 2_000_000, CLOCK)
    wrong = 0
    for step in range(int(count)):
        number = (int(seed) * 13 + step * 7) % 60
        store.put(numbered(number, 2000), CLOCK.epoch())
        other = (number * 5 + 1) % 60
        seen = store.get(key_of(other), SCOPE, CLOCK.epoch())
        wrong += seen is not None and seen.content != numbered(other, 2000).content
        if step % 50 == 0:
            store.remove(Selection(key=key_of(number)), now_s=CLOCK.epoch())
    store.flush()
    print(json.dumps({"wrong": wrong, **msgspec.structs.asdict(store.stats())}))
    store.close()


def fill(path: str, bytes_max: str) -> None:
    store = SqliteStore(Path(path), 500_000_000, CLOCK)
    store.put(numbered(0, 2000), CLOCK.epoch())
    store.flush()
    if int(bytes_max):
        # Writing beyond fails with EFBIG: the interpreter ignores the signal that comes with it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(bytes_max), int(bytes_max)))
    for number in range(1, 400):
        store.put(numbered(number), CLOCK.epoch())
        if number % 20 == 0:
            store.flush()
    seen = [n for n in range(400) if store.get(key_of(n), SCOPE, CLOCK.epoch()) is not None]
    print(json.dumps({"seen": seen, **msgspec.structs.asdict(store.stats())}))
    store.close()


if __name__ == "__main__":
    {"write": write, "share": share, "fill": fill}[sys.argv[1]](*sys.argv[2:])
