"""The ledger of a process: what every call cost and saved, in sums here and in rows on disk.

Booking adds integers under one short lock and never waits for the disk. A hit only joins a queue;
hits of one kind are booked together, with how many there were.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Protocol

from headgate.account import Account
from headgate.clock import Clock
from headgate.core.booking import AVOIDED_EXACT, Row, Spared, spared_row
from headgate.core.money import Price, dollars
from headgate.core.totals import Totals, sum_of
from headgate.stores.base import Booked, Journal
from headgate.types import Call, Entry, Usage

FOLD = 256
"""Hits that may wait to be booked."""
_REMEMBERED_MAX = 4096
_TENANT_BYTES = 8
_DAY_S = 86_400
_Hit = tuple[str, str, bytes, Usage]


class Pricing(Protocol):
    """`headgate.pricing.Prices`."""

    def price(
        self, provider: str, model: str, tier: str = "", *, batch: bool = False
    ) -> Price | None: ...


class Ledger:
    """Books calls. Safe from any thread. `journal` keeps the rows; without one only sums are kept,
    in memory. One made with `before` goes on with its sums."""

    def __init__(
        self,
        prices: Pricing,
        clock: Clock,
        journal: Journal | None = None,
        before: Ledger | None = None,
    ) -> None:
        self.journal = journal
        self._prices = prices
        self._clock = clock
        self._lock: threading.Lock = threading.Lock() if before is None else before._lock
        self._totals: Totals = Totals() if before is None else before._totals
        self._hits: deque[_Hit] = deque() if before is None else before._hits
        self._prefix = f"{int(clock.random() * 2**48):012x}"
        self._numbers = itertools.count(1)
        self._day = 0
        self._known: dict[str, Price | None] = {}
        self._saved: dict[tuple[str, Usage], bytes] = {}
        if journal is not None:
            journal.before_writing = self.settle

    def open(self, call: Call) -> Account:
        """The account of a call that begins."""
        return Account(self, call)

    def price(self, target: str) -> Price | None:
        """Of `provider/model`, today."""
        day = int(self._clock.epoch() // _DAY_S)
        if day != self._day or len(self._known) > _REMEMBERED_MAX:
            self._day, self._known, self._saved = day, {}, {}
        known = self._known
        if target not in known:
            provider, _, model = target.partition("/")
            known[target] = self._prices.price(provider, model)
        return known[target]

    def name(self) -> str:
        """For one more call: the same twice in no two processes."""
        return f"{self._prefix}-{next(self._numbers):x}"

    def book(self, name: str, call: Call, rows: Sequence[Row]) -> None:
        """The rows of one call, or later ones of it."""
        now_s = self._clock.epoch()
        with self._lock:
            for row in rows:
                self._totals.add(call.model, row.kind, sum_of(row))
        if self.journal is not None:
            tenant = _tenant(call.scope)
            self.journal.append([Booked(now_s, name, call.model, tenant, row) for row in rows])

    def record_hit(self, entry: Entry) -> None:
        """One call that the cache answered: it joins a queue, under no lock."""
        hits = self._hits
        hits.append((entry.model, entry.target, entry.scope, entry.usage))
        if len(hits) >= FOLD:
            self.settle()

    def settle(self) -> None:
        """Books the hits that wait."""
        hits = self._hits
        if not hits:
            return
        with self._lock:
            waiting = Counter(hits.popleft() for _ in range(len(hits)))
            booked = [self._hit(hit, calls) for hit, calls in waiting.items() if hit[3].tokens]
            for one in booked:
                self._totals.add(one.model, one.row.kind, sum_of(one.row))
        if self.journal is not None and booked:
            self.journal.append(booked)

    def _hit(self, hit: _Hit, calls: int) -> Booked:
        model, target, scope, usage = hit
        row = spared_row(Spared(AVOIDED_EXACT, target, usage, self.price(target)), calls)
        return Booked(self._clock.epoch(), "", model, _tenant(scope), row)

    def saved_usd(self, entry: Entry) -> bytes:
        """What a hit of `entry` saves, in dollars; empty where its price is not known."""
        place = (entry.target, entry.usage)
        saved = self._saved.get(place)
        if saved is None:
            price = self.price(entry.target)
            if len(self._saved) >= _REMEMBERED_MAX:
                self._saved = {}
            row = spared_row(Spared(AVOIDED_EXACT, entry.target, entry.usage, price))
            saved = b"" if row.cost_nanos is None else dollars(row.cost_nanos).encode()
            self._saved[place] = saved
        return saved

    def numbers(self) -> dict[str, Any]:
        """The `cost` object, of this process since it started."""
        self.settle()
        with self._lock:
            return self._totals.numbers()

    def problem(self) -> str:
        """What is wrong with the file just now, "" if nothing is."""
        return "" if self.journal is None else self.journal.problem()

    def close(self) -> None:
        """Books and writes what waits."""
        self.settle()
        if self.journal is not None:
            self.journal.close()


def _tenant(scope: bytes) -> str:
    return scope[:_TENANT_BYTES].hex()
