"""When a second attempt is worth its price: not before most answers would have begun. Pure.

Dean and Barroso, "The Tail at Scale" (2013): a second request after the 95th percentile costs about
5 % more load and cuts the tail. The budget has no floor: without traffic there is no hedge.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Annotated

from headgate.core.settings import Checked
from headgate.core.units import Bounds, Seconds

SAMPLES_MAX = 256
_SAMPLES_MIN = 20
_PERCENTILE = 0.95
_DELAY_MIN_S = 0.001
_CREDIT_MAX = 10.0


@dataclass(frozen=True)
class HedgeSettings(Checked):
    """Whether and how much to hedge. Raises ConfigError with every number out of its range."""

    is_enabled: bool = False
    """Ask a second target where the first one takes unusually long."""
    budget_share: Annotated[float, Bounds(0, 1)] = 0.02
    """Second attempts per call at most."""
    delay_min_s: Annotated[Seconds, Bounds(0)] = 0.0
    """Never earlier than this."""


class Waits:
    """How long the latest answers of one deployment took to begin, in seconds."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=SAMPLES_MAX)

    def add(self, took_s: float) -> None:
        """One more; the oldest of `SAMPLES_MAX` goes."""
        self._seconds.append(took_s)

    def delay_s(self, least_s: float = 0.0) -> float | None:
        """After how long a second attempt is worth it: the 95th percentile, at least `least_s` and
        1 ms; None while too few are known."""
        known = sorted(self._seconds)
        if len(known) < _SAMPLES_MIN:
            return None
        return max(known[math.ceil(_PERCENTILE * len(known)) - 1], least_s, _DELAY_MIN_S)


class HedgeBudget:
    """Second attempts as a share of calls; at most ten saved up."""

    __slots__ = ("_credit", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._credit = 0.0

    def deposit(self) -> None:
        """A call arrives."""
        self._credit = min(_CREDIT_MAX, self._credit + self._share)

    def withdraw(self) -> bool:
        """Whether a second attempt may be made; if so, it is."""
        if self._credit < 1:
            return False
        self._credit -= 1
        return True
