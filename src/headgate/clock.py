"""Time and dice: the only file that may read either. Everything else takes them as arguments.

Two clocks on purpose: durations and deadlines use the monotonic one, which no administrator can
turn back; what is written to disk is stamped by the wall clock, because it outlives the process.
"""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """What a runtime needs to know about time. `headgate.testing.FakeClock` is the other one."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never decreases."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z; may jump."""
        ...

    def random(self) -> float:
        """Uniform in [0, 1): jitter and sampling, never secrets."""
        ...


class SystemClock:
    """The machine's clocks. The methods are the C functions themselves: no Python frame a call."""

    monotonic = staticmethod(time.perf_counter)
    wall = staticmethod(time.time)
    random = staticmethod(random.random)
