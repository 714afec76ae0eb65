"""What a call may still spend on trying again, and what a destination can take of it. Pure.

Attempts and deadline belong to the call and are shared by retry and fallback. The retry budget
belongs to the destination: repeats may be a share of its traffic and no more (Google SRE book,
chapter 21; Finagle's RetryBudget), so that an outage is not answered with three times the load.
Not thread-safe: the caller holds a lock around a budget; an allowance has one task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from headgate.core.outcome import NEVER, ONCE, Outcome
from headgate.core.settings import Checked
from headgate.core.units import Bounds, Seconds
from headgate.core.window import TimeWindow

BUDGET, ATTEMPTS, DEADLINE = "budget", "attempts", "deadline"
RETRY_AFTER, UNSAFE, FINAL = "retry_after", "unsafe", "final"
"""Why something is not tried again. `FINAL`: the outcome itself says so, nothing was denied."""

# Said before the request was worked on, so repeating it does nothing twice.
_NOT_BEGUN = frozenset({"rate_limit", "unavailable"})


@dataclass(frozen=True)
class AllowanceSettings(Checked):
    """How much may be tried again. Raises ConfigError with every number out of its range."""

    attempts_max: Annotated[int, Bounds(1, 100)] = 3
    """Attempts of one call in all, those at other targets included."""
    budget_share: Annotated[float, Bounds(0, 1)] = 0.1
    """Repeats per first attempt that a destination takes; 0: only the floor."""
    budget_floor: Annotated[int, Bounds(0, 1_000_000)] = 10
    """Repeats that it takes in any case during `budget_s`."""
    budget_s: Annotated[Seconds, Bounds(1, 60)] = 10.0
    """How long a first attempt counts for its share."""
    retry_after_max_s: Annotated[Seconds, Bounds(0, above=True)] = 60.0
    """Nobody is kept waiting for a Retry-After longer than this."""


class Budget:
    """The retry budget of one destination. `now_s` is monotonic seconds."""

    __slots__ = ("_arrivals", "_floor", "_share", "denied")

    def __init__(self, settings: AllowanceSettings, now_s: float) -> None:
        # Every arrival is one of the window's calls; repeats stand in its column of faults.
        self._arrivals = TimeWindow(settings.budget_s, now_s)
        self._share = settings.budget_share
        self._floor = settings.budget_floor
        self.denied = 0

    def deposit(self, now_s: float) -> None:
        """A first attempt arrives."""
        self._arrivals.add(now_s)

    def withdraw(self, now_s: float) -> bool:
        """Whether a retry, fallback or hedge may come here; if so, it has."""
        if self.balance(now_s) < 1:
            self.denied += 1
            return False
        self._arrivals.add(now_s, fault=True)
        return True

    def balance(self, now_s: float) -> float:
        """Repeats that it would take now; negative after traffic has shrunk."""
        self._arrivals.refresh(now_s)
        repeats = self._arrivals.faults
        return self._floor + self._share * (self._arrivals.calls - repeats) - repeats


class Patience:
    """How long the first caller of a call waits for it, in seconds, and whether others do, too:
    then nothing is given up because the first one's time is over."""

    __slots__ = ("deadline_s", "is_shared")

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.is_shared = False


class Allowance:
    """What one call may still spend. `deadline_s` is a moment on the monotonic clock, infinity for
    none. `is_repeatable` is False for a request with effects at the provider that were asked for
    explicitly (`store`, `background`, hosted tools): it is repeated only where nothing was done.
    """

    __slots__ = (
        "_first_until_s", "_patience", "attempts", "attempts_left", "deadline_s", "denied",
        "is_repeatable", "name", "retry_after_max_s",
    )  # fmt: skip

    def __init__(
        self,
        settings: AllowanceSettings,
        deadline_s: float = math.inf,
        *,
        is_repeatable: bool = True,
    ) -> None:
        self.attempts = 0
        self.denied = ""
        """Why the last failure was not tried again; kept by who asked."""
        self.attempts_left = settings.attempts_max
        self.name = b""
        """What its attempts are known by, for providers that want a call to have a name."""
        self.deadline_s = deadline_s
        self.is_repeatable = is_repeatable
        self.retry_after_max_s = settings.retry_after_max_s
        self._patience: Patience | None = None
        self._first_until_s = math.inf

    def wait_with(self, patience: Patience, now_s: float) -> None:
        """Nothing is tried again past the time of the first caller, as long as it is the only one.
        Who waits leaves by itself: an attempt under way is not ended by this."""
        self._patience = patience
        self._first_until_s = now_s + patience.deadline_s

    def spend(self) -> None:
        """An attempt begins. A refusal of ours is none and spends nothing."""
        self.attempts += 1
        self.attempts_left -= 1

    def left_s(self, now_s: float) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.deadline_s - now_s)

    def denial(
        self, outcome: Outcome, now_s: float, wait_s: float = 0.0, *, repeats: int = 0
    ) -> str:
        """Why the same target may not be asked again after `wait_s`, "" if it may; `repeats` is how
        often it has been.

        Asks everything but the destination's budget, which comes last because asking spends it.
        """
        if outcome.again == NEVER or (outcome.again == ONCE and repeats):
            return FINAL
        if denied := self.denial_elsewhere(outcome, now_s, wait_s):
            return denied
        asked_s = outcome.retry_after_s or 0.0
        return RETRY_AFTER if asked_s > self.retry_after_max_s else ""

    def denial_elsewhere(self, outcome: Outcome, now_s: float, wait_s: float = 0.0) -> str:
        """Why no other target may be asked either, "" if one may. Which one is not asked here."""
        if outcome.committed:
            return FINAL
        if not self.is_repeatable and outcome.sent and outcome.reason not in _NOT_BEGUN:
            return UNSAFE
        if self.attempts_left <= 0:
            return ATTEMPTS
        until_s = self.deadline_s
        if self._patience is not None and not self._patience.is_shared:
            until_s = min(until_s, self._first_until_s)
        return DEADLINE if now_s + wait_s >= until_s else ""
