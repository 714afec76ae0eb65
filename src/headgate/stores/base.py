"""What a store of entries promises, in words that every store's contract tests repeat.

1. `get` returns an entry exactly as it was put, or None. Never a torn, foreign or changed one:
   a store that reads bytes from outside this process verifies key, scope and checksum first.
2. An entry past its time is returned only to who allows it to be stale, and by no more than that.
3. A store that cannot read answers None; one that cannot write drops the entry. Both are counted
   in `errors`; neither raises. The cache never costs an answer.
4. `size_bytes` of all entries stays at or below the bound; the oldest-used go first.
5. Every method may be called from any thread.

`now_s` is wall-clock seconds. This file may import types and core only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from headgate.core.booking import Row
from headgate.types import EVERYTHING, Entry, Selection


class StoreStats(Struct, frozen=True):
    """Counters of one store since it was opened; `entries` and `size_bytes` as of now."""

    name: str
    entries: int = 0
    size_bytes: int = 0
    hits: int = 0
    misses: int = 0
    evictions: int = 0
    """Removed to stay within a bound."""
    expirations: int = 0
    """Removed because their time had passed."""
    integrity_failures: int = 0
    """Entries that did not verify: removed, answered as a miss."""
    errors: int = 0
    """Reads and writes that failed: answered as a miss, or dropped."""


class Store(Protocol):
    """See the promises at the top of this file."""

    blocking: bool
    """True if `get` waits for a disk or a network: call it off the event loop."""

    def get(self, key: bytes, scope: bytes, now_s: float, stale_s: float = 0.0) -> Entry | None:
        """`stale_s`: how long past its time the entry may be, if the store still has it."""
        ...

    def put(self, entry: Entry, now_s: float) -> None:
        """Keeps `entry`. A blocking store may return before it is durable; `flush` waits."""
        ...

    def remove(
        self, selection: Selection = EVERYTHING, *, now_s: float, dry_run: bool = False
    ) -> int:
        """Removes what matches and returns how many; with `dry_run` only counts."""
        ...

    def list(self, selection: Selection = EVERYTHING, *, now_s: float, limit: int) -> list[Entry]:
        """At most `limit` matching entries, most recently used first."""
        ...

    def stats(self) -> StoreStats: ...

    def flush(self) -> None:
        """Returns once everything put before is as durable as this store makes it."""
        ...

    def close(self) -> None:
        """Flushes and lets go of every resource; further calls are harmless."""
        ...


class SharedStore(Store, Protocol):
    """A store that other processes use too."""

    def removals(self) -> int:
        """A number that changes when any process removed entries on purpose."""
        ...

    def problem(self) -> str:
        """What keeps it from working just now, for people; "" if nothing does. Never waits."""
        ...


class FastStore(Store, Protocol):
    """A store in memory: its `get` never waits, and `peek` is a look that counts nothing."""

    def peek(self, key: bytes, now_s: float, stale_s: float = 0.0) -> Entry | None: ...

    @property
    def evictions(self) -> int:
        """Entries that made room for others so far."""
        ...


class Booked(Struct, frozen=True):
    """A row of the ledger, and whose it is."""

    at_s: float
    """Wall-clock seconds."""
    call: str
    """Name of the call, the same for all its rows; "" where it stands for many."""
    model: str
    """As it was asked for."""
    tenant: str
    row: Row


class Journal(Protocol):
    """Keeps the rows of the ledger. Nothing here but `close` and `flush` waits for a disk, and
    nothing raises: rows that cannot be written wait, and what is too many is counted."""

    before_writing: Callable[[], None]
    """Called by its own thread, about once a second: the last chance to append."""

    def append(self, rows: Sequence[Booked]) -> None: ...

    def flush(self) -> bool:
        """Whether every row appended before is durable."""
        ...

    def problem(self) -> str:
        """What is wrong just now, for people; "" if nothing is."""
        ...

    def close(self) -> None: ...
