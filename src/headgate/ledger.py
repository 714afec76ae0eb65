"""The ledger of a process: what every call cost and saved, in sums here and in rows on disk.

Booking adds integers under one short lock and never waits for the disk, nor for the table of
prices. A hit only joins a queue; hits of one kind are booked together, with how many there were.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec.structs import replace

from headgate.account import Account
from headgate.clock import Clock
from headgate.core.booking import AVOIDED_EXACT, Row, Spared, priced_row, spared_row
from headgate.core.money import Price, dollars
from headgate.core.totals import Sum, Totals, sum_of
from headgate.stores.base import Booked, Journal
from headgate.types import Call, Entry, Usage

FOLD = 256
"""Hits that may wait to be booked."""
LATE_MAX = 10_000
"""Rows that may wait for the table of prices; further ones are booked as unpriced."""
_REMEMBERED_MAX = 4096
_TENANT_BYTES = 8
_PERIOD_S = 1800
_Hit = tuple[str, str, bytes, Usage]


class Pricing(Protocol):
    """`headgate.pricing.Prices`."""

    def price(
        self, provider: str, model: str, tier: str = "", *, batch: bool = False
    ) -> Price | None:
        """Never waits; None for what is unknown, or pending."""
        ...

    uses_list: bool
    """Whether models without a price of the user's own are looked up."""

    def is_pending(self, provider: str, model: str) -> bool: ...

    def resolve(
        self, provider: str, model: str, tier: str = "", *, batch: bool = False
    ) -> Price | None:
        """Waits where it is pending."""
        ...


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
        self.prices = prices
        self._clock = clock
        self._lock: threading.Lock = threading.Lock() if before is None else before._lock
        self._totals: Totals = Totals() if before is None else before._totals
        self._hits: deque[_Hit] = deque() if before is None else before._hits
        self._late: deque[Booked] = deque() if before is None else before._late
        self.prefix = f"{int(clock.random() * 2**48):012x}"
        """Of the names of its calls: no two processes have the same."""
        self._numbers = itertools.count(1)
        self._period = 0
        self._saved: dict[tuple[str, Usage], bytes] = {}
        if journal is not None:
            journal.before_writing = self.settle

    def open(self, call: Call) -> Account:
        """The account of a call that begins."""
        return Account(self, call)

    def price(self, target: str, tier: str = "") -> Price | None:
        """Of `provider/model` in a service tier, today; None too where it is not known yet."""
        provider, _, model = target.partition("/")
        return self.prices.price(provider, model, tier)

    def name(self) -> str:
        """For one more call: the same twice in no two processes."""
        return f"{self.prefix}-{next(self._numbers):x}"

    def book(self, name: str, call: Call, rows: Sequence[Row]) -> None:
        """The rows of one call, or later ones of it."""
        now_s, tenant = self._clock.epoch(), _tenant(call.scope)
        self._take([Booked(now_s, name, call.model, tenant, row) for row in rows])

    def record_hit(self, entry: Entry) -> None:
        """One call that the cache answered: it joins a queue, under no lock."""
        hits = self._hits
        hits.append((entry.model, entry.target, entry.scope, entry.usage))
        if len(hits) >= FOLD:
            self._take(self._folded())

    def settle(self) -> None:
        """Books what waits; may wait itself, for the table of prices."""
        self._take(self._folded())
        with self._lock:
            late = [self._late.popleft() for _ in range(len(self._late))]
        self._write([self._resolved(booked) for booked in late])

    def saved_usd(self, entry: Entry) -> bytes:
        """What a hit of `entry` saves, in dollars; empty where its price is not known."""
        period = int(self._clock.epoch()) // _PERIOD_S
        if period != self._period or len(self._saved) >= _REMEMBERED_MAX:
            self._period, self._saved = period, {}
        place = (entry.target, entry.usage)
        saved = self._saved.get(place)
        if saved is None:
            row = spared_row(self._spared(entry.target, entry.usage))
            saved = b"" if row.cost_nanos is None else dollars(row.cost_nanos).encode()
            if not self._is_late(row):
                self._saved[place] = saved
        return saved

    def numbers(self) -> dict[str, Any]:
        """The `cost` object, of this process since it started. May wait as `settle` does."""
        self.settle()
        with self._lock:
            return self._totals.numbers()

    def sums(self) -> dict[str, dict[str, Sum]]:
        """What `numbers` tells, by model and kind. May wait as `settle` does."""
        self.settle()
        with self._lock:
            return self._totals.by_model()

    def reserve(self, models: Iterable[str]) -> None:
        """These models have sums of their own whatever other names are asked for."""
        with self._lock:
            self._totals.reserve(models)

    def problem(self) -> str:
        """What is wrong with the file just now, "" if nothing is."""
        return "" if self.journal is None else self.journal.problem()

    def close(self) -> None:
        """Books and writes what waits."""
        self.settle()
        if self.journal is not None:
            self.journal.close()

    def _take(self, rows: Sequence[Booked]) -> None:
        """Books what has its price, or will have none; the rest waits for it."""
        ready = [booked for booked in rows if not self._is_late(booked.row)]
        if len(ready) < len(rows):
            with self._lock:
                room = LATE_MAX - len(self._late)
                late = [booked for booked in rows if self._is_late(booked.row)]
                self._late.extend(late[: max(0, room)])
            ready += late[max(0, room) :]
        self._write(ready)

    def _is_late(self, row: Row) -> bool:
        if row.cost_nanos is not None:
            return False
        provider, _, model = row.target.partition("/")
        return self.prices.is_pending(provider, model)

    def _resolved(self, booked: Booked) -> Booked:
        row = booked.row
        provider, _, model = row.target.partition("/")
        return replace(booked, row=priced_row(row, self.prices.resolve(provider, model, row.tier)))

    def _write(self, rows: Sequence[Booked]) -> None:
        if not rows:
            return
        with self._lock:
            for booked in rows:
                self._totals.add(booked.model, booked.row.kind, sum_of(booked.row))
        if self.journal is not None:
            self.journal.append(rows)

    def _folded(self) -> list[Booked]:
        """The hits that wait, one row for those that are alike."""
        hits = self._hits
        if not hits:
            return []
        with self._lock:
            waiting = Counter(hits.popleft() for _ in range(len(hits)))
        now_s = self._clock.epoch()
        return [
            Booked(now_s, "", model, _tenant(scope), spared_row(self._spared(target, usage), calls))
            for (model, target, scope, usage), calls in waiting.items()
            if usage.tokens
        ]

    def _spared(self, target: str, usage: Usage) -> Spared:
        return Spared(AVOIDED_EXACT, target, usage, self.price(target))


def _tenant(scope: bytes) -> str:
    return scope[:_TENANT_BYTES].hex()
