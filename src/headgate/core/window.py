"""Sliding windows over the outcomes of attempts: the last seconds, or the last so many. Pure.

Both keep running totals, so a record costs O(1) and a question nothing. `calls` are the outcomes
that vote (OK or FAULT), `faults` and `slow` are among them; `slow_only` counts what was slow and
has no vote otherwise (a caller who left after a long wait), so `slow` may exceed `calls`.
"""

from __future__ import annotations

from typing import Protocol

BUCKETS = 10
"""Parts of a time window: what leaves it leaves a tenth of its length at a time."""


class Window(Protocol):
    """What a breaker asks of its window. Times are monotonic seconds; one that is earlier than the
    latest known (threads read the clock before they take the lock) counts as the latest."""

    calls: int
    faults: int
    slow: int
    slow_only: int

    def add(self, now_s: float, fault: bool = False, slow: bool = False) -> None:
        """One outcome that votes."""
        ...

    def add_slow(self, now_s: float) -> None:
        """One attempt that was slow and has no vote otherwise."""
        ...

    def refresh(self, now_s: float) -> None:
        """Lets go of what is older than the window."""
        ...

    def clear(self, now_s: float) -> None:
        """Empties the window, which begins anew at `now_s`."""
        ...

    def has_passed(self, now_s: float) -> bool:
        """Whether a whole window went by since it began."""
        ...


class TimeWindow:
    """The last `window_s` seconds (> 0) in `BUCKETS` parts, the present one among them: what is
    older than `window_s` never counts, what is younger than nine tenths of it always does."""

    __slots__ = (
        "_begun_s", "_bucket_s", "_end_s", "_past", "_place", "_start", "calls", "faults", "slow",
        "slow_only",
    )  # fmt: skip

    def __init__(self, window_s: float, now_s: float) -> None:
        self._bucket_s = window_s / BUCKETS
        self.clear(now_s)

    def clear(self, now_s: float) -> None:
        self.calls = self.faults = self.slow = self.slow_only = 0
        self._past = [(0, 0, 0, 0)] * (BUCKETS - 1)
        self._place = 0
        # The totals at the start of the present bucket: what it holds is the difference.
        self._start = (0, 0, 0, 0)
        self._begun_s = now_s
        self._end_s = now_s + self._bucket_s

    def add(self, now_s: float, fault: bool = False, slow: bool = False) -> None:
        if now_s >= self._end_s:
            self.refresh(now_s)
        self.calls += 1
        self.faults += fault
        self.slow += slow

    def add_slow(self, now_s: float) -> None:
        if now_s >= self._end_s:
            self.refresh(now_s)
        self.slow += 1
        self.slow_only += 1

    def refresh(self, now_s: float) -> None:
        if now_s < self._end_s:
            return
        turns = 1 + int((now_s - self._end_s) / self._bucket_s)
        self._end_s += turns * self._bucket_s
        for _ in range(min(turns, BUCKETS)):
            self._turn()

    def _turn(self) -> None:
        """The present bucket takes the place of the oldest one."""
        calls, faults, slow, slow_only = self._start
        oldest = self._past[self._place]
        self._past[self._place] = (
            self.calls - calls,
            self.faults - faults,
            self.slow - slow,
            self.slow_only - slow_only,
        )
        self._place = (self._place + 1) % len(self._past)
        self.calls -= oldest[0]
        self.faults -= oldest[1]
        self.slow -= oldest[2]
        self.slow_only -= oldest[3]
        self._start = (self.calls, self.faults, self.slow, self.slow_only)

    def has_passed(self, now_s: float) -> bool:
        return now_s - self._begun_s >= self._bucket_s * BUCKETS


_VOTED, _FAULT, _SLOW = 1, 2, 4


class CountWindow:
    """The last `size` (>= 1) outcomes, whenever they were; `now_s` has no effect."""

    __slots__ = ("_outcomes", "_place", "calls", "faults", "slow", "slow_only")

    def __init__(self, size: int) -> None:
        self._outcomes = bytearray(size)
        self.clear(0.0)

    def clear(self, now_s: float) -> None:
        self.calls = self.faults = self.slow = self.slow_only = 0
        self._outcomes = bytearray(len(self._outcomes))
        self._place = 0

    def add(self, now_s: float, fault: bool = False, slow: bool = False) -> None:
        self._put(_VOTED | (_FAULT if fault else 0) | (_SLOW if slow else 0))

    def add_slow(self, now_s: float) -> None:
        self._put(_SLOW)

    def _put(self, outcome: int) -> None:
        self._count(self._outcomes[self._place], -1)
        self._outcomes[self._place] = outcome
        self._count(outcome, 1)
        self._place = (self._place + 1) % len(self._outcomes)

    def _count(self, outcome: int, step: int) -> None:
        self.calls += step * bool(outcome & _VOTED)
        self.faults += step * bool(outcome & _FAULT)
        self.slow += step * bool(outcome & _SLOW)
        self.slow_only += step * (outcome == _SLOW)

    def refresh(self, now_s: float) -> None:
        """Nothing leaves this window by getting old."""

    def has_passed(self, now_s: float) -> bool:
        # Full since it was cleared: no outcome is 0.
        return self.calls + self.slow_only == len(self._outcomes)
