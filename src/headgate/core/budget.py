"""Dollars per day and month of one key: reserve before an attempt, settle after it. Pure.

Days and months are those of UTC. What is spent never passes a limit by more than what the
attempts under way turn out to cost above their estimates: each is let through only where
everything spent, everything reserved and its own estimate fit together. Not thread-safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

DAY, MONTH = "day", "month"
_DAY_S = 86_400.0


class Hold(Struct):
    """A reservation. It ends once: settled, or released."""

    nanos: int
    ended: bool = False


class Shortage(Struct, frozen=True):
    """What a reservation does not fit into."""

    period: str
    """`DAY` or `MONTH`."""
    limit_nanos: int
    left_nanos: int
    """Neither spent nor reserved; 0 at the least."""
    begins_anew_s: float
    """Seconds since 1970."""


def day_of(now_s: float) -> str:
    """`2026-11-27`, of seconds since 1970."""
    year, month, day = _date(now_s)
    return f"{year:04d}-{month:02d}-{day:02d}"


def month_of(now_s: float) -> str:
    """`2026-11`."""
    return day_of(now_s)[:7]


class Budget:
    """What one key may spend, as one process sees it. All sums are nano-dollars (>= 0)."""

    def __init__(self, day_nanos: int | None, month_nanos: int | None) -> None:
        self.limits = {DAY: day_nanos, MONTH: month_nanos}
        """None: no such limit."""
        self.held = 0
        """Reserved here."""
        self.held_elsewhere = 0
        """Reserved by other processes, as last heard of."""
        self.saved: Mapping[str, int] = {}
        """Spent by day and month, as the file says."""
        self.unsaved: Counter[str] = Counter()
        """Spent here besides."""
        self.saving: Counter[str] = Counter()
        """On its way to the file."""

    def spent(self, period: str) -> int:
        """In one day or month."""
        return self.saved.get(period, 0) + self.unsaved[period] + self.saving[period]

    def reserve(self, nanos: int, now_s: float) -> Hold | Shortage:
        """Takes `nanos` (>= 0, an estimate) out of everything that has a limit, or of nothing."""
        shortages = [
            shortage
            for period in (MONTH, DAY)
            if (shortage := self._shortage(period, nanos, now_s)) is not None
        ]
        if shortages:
            return shortages[0]
        self.held += nanos
        return Hold(nanos)

    def settle(self, hold: Hold, nanos: int, now_s: float) -> None:
        """The attempt has ended and cost `nanos` (>= 0), whatever was estimated."""
        if hold.ended:
            return
        self.release(hold)
        if nanos:
            self.unsaved[day_of(now_s)] += nanos
            self.unsaved[month_of(now_s)] += nanos

    def release(self, hold: Hold) -> None:
        """Nothing was sent, or nothing is billed."""
        if not hold.ended:
            hold.ended = True
            self.held -= hold.nanos

    # The file.

    def begin_saving(self) -> Counter[str]:
        """What is to be added to the file now; `end_saving` says how that went."""
        self.saving, self.unsaved = self.unsaved, Counter()
        return self.saving

    def end_saving(self, saved: Mapping[str, int] | None, held_elsewhere: int = 0) -> None:
        """`saved`: what the file says now, the additions included; None: nothing was added."""
        if saved is None:
            self.unsaved.update(self.saving)
        else:
            self.hear(saved, held_elsewhere)
        self.saving = Counter()

    def hear(self, saved: Mapping[str, int], held_elsewhere: int) -> None:
        """What the file says now, of all processes."""
        self.saved, self.held_elsewhere = saved, held_elsewhere

    def _shortage(self, period: str, nanos: int, now_s: float) -> Shortage | None:
        limit = self.limits[period]
        if limit is None:
            return None
        name = day_of(now_s) if period == DAY else month_of(now_s)
        left = limit - self.spent(name) - self.held - self.held_elsewhere
        # What costs nothing fits in what is used up: a limit of 0 is for models that are free.
        if nanos <= max(0, left):
            return None
        return Shortage(period, limit, max(0, left), _next(period, now_s))


def _next(period: str, now_s: float) -> float:
    """When the period after this one begins."""
    today = now_s // _DAY_S
    if period == DAY:
        return (today + 1) * _DAY_S
    first = today - _date(now_s)[2] + 1
    following = next(day for day in range(28, 32) if _date((first + day) * _DAY_S)[2] == 1)
    return (first + following) * _DAY_S


def _date(now_s: float) -> tuple[int, int, int]:
    """Year, month and day: years that begin in March have their leap day last, and 400 of them
    always have 146,097 days."""
    era, rest = divmod(int(now_s // _DAY_S) + 719_468, 146_097)
    year = (rest - rest // 1460 + rest // 36_524 - rest // 146_096) // 365
    rest -= 365 * year + year // 4 - year // 100
    month = (5 * rest + 2) // 153
    day = rest - (153 * month + 2) // 5 + 1
    return era * 400 + year + (month >= 10), month + 3 - 12 * (month >= 10), day
