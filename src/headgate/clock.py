"""Time and dice: the only file that may read either. Everything else takes them as arguments.

Durations and deadlines use the monotonic clock, which no administrator can turn back. What is
written to disk is stamped with seconds since 1970, because it outlives the process; within one
process that stamp advances with the monotonic clock (`epoch`), so a jump of the wall clock neither
revives nor kills an entry.
"""

from __future__ import annotations

import os
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

    def epoch(self) -> float:
        """Seconds since 1970, anchored to the wall clock once and advancing with `monotonic`."""
        ...

    def random(self) -> float:
        """Uniform in [0, 1): jitter and sampling, never secrets."""
        ...


class SystemClock:
    """The machine's clocks. The methods are the C functions themselves: no Python frame a call."""

    monotonic = staticmethod(time.perf_counter)
    wall = staticmethod(time.time)
    random = staticmethod(random.random)

    def __init__(self) -> None:
        self.epoch_offset_s = time.time() - time.perf_counter()

    def epoch(self) -> float:
        return self.epoch_offset_s + time.perf_counter()


def secret_bytes(count: int) -> bytes:
    """`count` bytes that nobody can guess, of the operating system."""
    return os.urandom(count)
