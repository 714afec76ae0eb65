"""The memory tier: an ordered dictionary, bounded by entries and by bytes, least recently used out.

One lock guards order and sums; nothing is done under it but dictionary operations. Entries are
immutable (bytes and frozen structs), so what is handed out cannot be changed into the cache.
"""

from __future__ import annotations

import builtins
import threading
from collections import OrderedDict

from headgate.stores.base import StoreStats
from headgate.types import EVERYTHING, Entry, Selection


class MemoryStore:
    """Keeps up to `maxsize` entries and `max_bytes` bytes (`Entry.size_bytes`); 0 keeps none.

    `keep_stale_s`: how long past its time an entry is still there for who accepts a stale one.
    Raises ValueError for a bound that is no whole number or below 0: later it would cost an answer.
    """

    blocking = False

    def __init__(
        self, maxsize: int = 1000, max_bytes: int = 256_000_000, keep_stale_s: float = 0.0
    ) -> None:
        for name, bound in (("maxsize", maxsize), ("max_bytes", max_bytes)):
            if not isinstance(bound, int) or bound < 0:
                raise ValueError(f"{name} must be a whole number of at least 0, not {bound!r}")
        self._maxsize = maxsize
        self._max_bytes = max_bytes
        self._keep_stale_s = keep_stale_s
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, tuple[Entry, float]] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._evictions = self._expirations = 0

    @property
    def evictions(self) -> int:
        return self._evictions

    def peek(self, key: bytes, now_s: float, stale_s: float = 0.0) -> Entry | None:
        """As `get`, for the hot path: without the lock and without counting a hit or a miss.

        Safe because each dictionary operation is one C call on bytes keys; an entry that another
        thread removes between the two of them is still the right answer. 0.2 us against 0.5 us.
        """
        found = self._entries.get(key)
        if found is None or now_s >= found[1] + stale_s:
            return None
        try:
            self._entries.move_to_end(key)
        except KeyError:
            return found[0]
        return found[0]

    def get(self, key: bytes, scope: bytes, now_s: float, stale_s: float = 0.0) -> Entry | None:
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                entry, expires_s = found
                if now_s < expires_s + stale_s and entry.scope == scope:
                    self._entries.move_to_end(key)
                    self._hits += 1
                    return entry
                if now_s >= expires_s + self._keep_stale_s:
                    self._drop(key)
                    self._expirations += 1
            self._misses += 1
            return None

    def put(self, entry: Entry, now_s: float) -> None:
        expires_s = entry.expires_s
        size = entry.size_bytes
        with self._lock:
            replaced = self._entries.get(entry.key)
            if replaced is not None:
                self._drop(entry.key)
                self._expirations += now_s >= replaced[1]
            if now_s >= expires_s or self._maxsize == 0 or size > self._max_bytes:
                return
            self._entries[entry.key] = (entry, expires_s)
            self._bytes += size
            while len(self._entries) > self._maxsize or self._bytes > self._max_bytes:
                # One C call: a step of an iterator fails where `peek` has moved a key meanwhile.
                self._out(self._entries.popitem(last=False)[1], now_s)

    def _drop(self, key: bytes) -> None:
        self._bytes -= self._entries.pop(key)[0].size_bytes

    def _out(self, evicted: tuple[Entry, float], now_s: float) -> None:
        entry, expires_s = evicted
        self._bytes -= entry.size_bytes
        if now_s < expires_s:
            self._evictions += 1
        else:
            self._expirations += 1

    def remove(
        self, selection: Selection = EVERYTHING, *, now_s: float, dry_run: bool = False
    ) -> int:
        with self._lock:
            chosen = [e.key for e in self._listed() if selection.matches(e, now_s)]
            if not dry_run:
                for key in chosen:
                    self._drop(key)
            return len(chosen)

    def list(
        self, selection: Selection = EVERYTHING, *, now_s: float, limit: int
    ) -> builtins.list[Entry]:
        with self._lock:
            found = self._listed()
        return [entry for entry in reversed(found) if selection.matches(entry, now_s)][:limit]

    def _listed(self) -> builtins.list[Entry]:
        """Least recently used first. The keys are copied in one C call, because `peek` moves them
        without the lock: a loop over the dictionary would fail, or see an entry twice."""
        return [self._entries[key][0] for key in builtins.list(self._entries)]

    def stats(self) -> StoreStats:
        with self._lock:
            return StoreStats(
                name="memory",
                entries=len(self._entries),
                size_bytes=self._bytes,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                expirations=self._expirations,
            )

    def flush(self) -> None:
        """Nothing to wait for: memory is as durable as it gets at once."""

    def close(self) -> None:
        with self._lock:
            self._entries.clear()
            self._bytes = 0
