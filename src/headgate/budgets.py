"""Budgets of client keys in a running process: kept in memory, evened out through their file.

A reservation takes a short lock and never waits for the disk. What is spent and reserved here goes
to the file a few times a second, and what other processes have spent and reserved comes from there.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from headgate.clock import Clock
from headgate.core.budget import Budget, Hold, Shortage
from headgate.core.client import KeyRecord
from headgate.core.money import dollars
from headgate.errors import SpendExhausted, StoreError
from headgate.stores.keys import KeyStore

LEASE_S = 10.0
"""How long the reservations of a process count that is not heard of any more."""
RENEW_S = 2.0


class Purse:
    """The budget of one family of keys. Safe from any thread."""

    def __init__(self, budget: Budget, clock: Clock, *, takes_unpriced: bool) -> None:
        self.takes_unpriced = takes_unpriced
        """Whether what nobody knows the price of may be asked for."""
        self._budget = budget
        self._clock = clock
        self._lock = threading.Lock()

    def reserve(self, nanos: int) -> Hold:
        """Takes an estimate. Raises SpendExhausted where it does not fit."""
        with self._lock:
            now_s = self._clock.epoch()
            hold = self._budget.reserve(nanos, now_s)
        if isinstance(hold, Shortage):
            raise _exhausted(hold, nanos, now_s)
        return hold

    def settle(self, hold: Hold, nanos: int) -> None:
        """The attempt cost `nanos`."""
        with self._lock:
            self._budget.settle(hold, nanos, self._clock.epoch())

    def release(self, hold: Hold) -> None:
        """The attempt cost nothing."""
        with self._lock:
            self._budget.release(hold)

    def held(self) -> int:
        """Nano-dollars that attempts under way have reserved."""
        with self._lock:
            return self._budget.held

    @property
    def has_unsaved(self) -> bool:
        """Whether the file does not know all of what was spent."""
        return bool(self._budget.unsaved)

    def hear(self, saved: Mapping[str, int], held_elsewhere: int) -> None:
        """What the file says now."""
        with self._lock:
            self._budget.hear(saved, held_elsewhere)

    def begin_saving(self) -> dict[str, int]:
        """What is to be added to the file."""
        with self._lock:
            return dict(self._budget.begin_saving())

    def end_saving(self, saved: Mapping[str, int] | None, held_elsewhere: int = 0) -> None:
        """As `Budget.end_saving`."""
        with self._lock:
            self._budget.end_saving(saved, held_elsewhere)


class Purses:
    """Every purse of a process; `even_out` is called by one thread at a time."""

    def __init__(self, clock: Clock, *, takes_unpriced: bool) -> None:
        self._clock = clock
        self._takes_unpriced = takes_unpriced
        self._purses: dict[str, Purse] = {}
        self._process = f"{int(clock.random() * 2**53):014x}"
        self._told_s = float("-inf")
        self._held: dict[str, int] = {}

    def of(self, record: KeyRecord) -> Purse | None:
        """The purse of a key, which all keys of its rotation share; None where it has no limit."""
        if record.day_nanos is None and record.month_nanos is None:
            return None
        purse = self._purses.get(record.family)
        if purse is None:
            budget = Budget(record.day_nanos, record.month_nanos)
            purse = Purse(budget, self._clock, takes_unpriced=self._takes_unpriced)
            self._purses[record.family] = purse
        return purse

    def even_out(self, store: KeyStore, *, has_news: bool = False) -> None:
        """Tells the file what is new here, and hears what is new there: where it `has_news`, and
        now and then, as what a killed process has reserved ends without any. Raises StoreError;
        then everything is told the next time."""
        purses = dict(self._purses)
        now_s = self._clock.epoch()
        held = {family: nanos for family, purse in purses.items() if (nanos := purse.held())}
        is_late = now_s >= self._told_s + RENEW_S
        if held != self._held or any(purse.has_unsaved for purse in purses.values()):
            self._tell(store, purses, held, now_s)
        elif purses and (is_late or has_news):
            if held and is_late:
                self._tell(store, purses, held, now_s)
                return
            told = store.hear(self._process, now_s)
            for family, purse in purses.items():
                purse.hear(told.spent.get(family, {}), told.held_elsewhere.get(family, 0))

    def _tell(
        self, store: KeyStore, purses: Mapping[str, Purse], held: dict[str, int], now_s: float
    ) -> None:
        spent = {family: purse.begin_saving() for family, purse in purses.items()}
        try:
            told = store.tell(
                self._process,
                {family: amounts for family, amounts in spent.items() if amounts},
                held.items(),
                now_s=now_s,
                lease_s=LEASE_S,
            )
        except StoreError:
            for purse in purses.values():
                purse.end_saving(None)
            raise
        self._told_s, self._held = now_s, held
        for family, purse in purses.items():
            purse.end_saving(told.spent.get(family, {}), told.held_elsewhere.get(family, 0))


def _exhausted(shortage: Shortage, nanos: int, now_s: float) -> SpendExhausted:
    wait_s = max(1.0, shortage.begins_anew_s - now_s)
    return SpendExhausted(
        f"this call may cost ${dollars(nanos)}, and of the ${dollars(shortage.limit_nanos)} that "
        f"this key may spend in a {shortage.period} ${dollars(shortage.left_nanos)} are left: "
        f"ask for less (max_tokens), wait for the next {shortage.period} (UTC), or have the "
        "operator of this gateway give you a larger budget",
        retry_after_s=wait_s,
    )
