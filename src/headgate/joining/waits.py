"""Who waits for whom, so that nobody joins a call that waits, by whatever way round, for itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from headgate.joining.flight import Flight
from headgate.types import Call, Invocation


class Waits:
    """Who waits for which key: the flights above a call, and the thread that it blocks."""

    def __init__(self, flights: Mapping[bytes, Flight]) -> None:
        self._flights = flights
        self._waits: defaultdict[bytes | int, Counter[bytes]] = defaultdict(Counter)

    def would_never_end(self, call: Call) -> bool:
        """Whether the flight of `call.key` depends on a flight or a thread that `call` holds."""
        mine = _held(call)
        keys, seen = [call.key], set[bytes]()
        while mine and keys:
            key = keys.pop()
            if key in seen or key not in self._flights:
                continue
            seen.add(key)
            holders: set[bytes | int] = {key, self._flights[key].thread_id}
            if mine & holders:
                return True
            keys += [awaited for holder in holders for awaited in self._waits.get(holder, ())]
        return False

    @contextmanager
    def waiting(self, call: Call) -> Iterator[None]:
        """`call` is known as waiting for the flight of its key meanwhile."""
        mine = _held(call)
        for holder in mine:
            self._waits[holder][call.key] += 1
        try:
            yield
        finally:
            for holder in mine:
                self._forget(holder, call.key)

    def _forget(self, holder: bytes | int, key: bytes) -> None:
        row = self._waits[holder]
        row[key] -= 1
        if not row[key]:
            del row[key]
        if not row:
            del self._waits[holder]


def _held(call: Call) -> frozenset[bytes | int]:
    """What cannot go on before `call` has its reply."""
    request = call.request
    if not isinstance(request, Invocation):
        return frozenset()
    return request.held_keys | ({request.thread_id} if request.blocks_thread else frozenset())
