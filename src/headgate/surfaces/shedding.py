"""Load shedding at the door: while the gateway itself is overloaded, calls are refused before
anything is spent on them, so that those which are inside get their answers.

The door is the data plane's alone: health, numbers and administration are answered always.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from headgate.core.concurrency import CALLS, LAG, MEMORY, ShedSettings, ask_again_s, why_shed
from headgate.errors import QueueFull

TICK_S = 0.05
"""How often the loop is asked how late it is."""

_STATM = Path("/proc/self/statm")
_WORDS = {
    CALLS: "too many calls are in progress",
    LAG: "the gateway is overloaded: it runs late",
    MEMORY: "the gateway is overloaded: it holds too much memory",
}


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell it in /proc."""
    try:
        pages = int(_STATM.read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class Door:
    """Lets calls in, or says why not; counts those inside.

    `dice()` is uniform in [0, 1): refused callers must not all come back in the same second.
    """

    def __init__(
        self,
        settings: ShedSettings,
        dice: Callable[[], float],
        memory_bytes: Callable[[], int] = resident_bytes,
    ) -> None:
        self.inside = 0
        self.shed = 0
        self._settings = settings
        self._dice = dice
        self._read_memory = memory_bytes
        self._memory_bytes = 0
        self._late_s = 0.0
        self.lag_s = 0.0
        """How late the loop is: the less of its last two delays. A single long step (one large
        body) is over when it is seen; who is late twice in a row does not keep up."""
        self._timer: asyncio.TimerHandle | None = None

    def adjust(self, settings: ShedSettings) -> None:
        """From now on `settings` say who is let in; who is inside stays."""
        self._settings = settings

    def enter(self) -> None:
        """A call comes in; it must `leave`, too. Raises QueueFull."""
        reason = why_shed(self._settings, self.lag_s, self._memory_bytes, self.inside)
        if reason:
            self.shed += 1
            raise QueueFull(_WORDS[reason], retry_after_s=ask_again_s(self._dice()))
        self.inside += 1

    def leave(self) -> None:
        """A call that came in is over."""
        self.inside -= 1

    def watch(self) -> None:
        """Begins to measure, in the running loop."""
        loop = asyncio.get_running_loop()
        self._measure(loop, loop.time())

    def close(self) -> None:
        """Measures no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _measure(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        now_s = loop.time()
        before_s, self._late_s = self._late_s, max(0.0, now_s - due_s)
        self.lag_s = min(before_s, self._late_s)
        if self._settings.memory_max_bytes is not None:
            self._memory_bytes = self._read_memory()
        due_s = now_s + TICK_S
        self._timer = loop.call_at(due_s, self._measure, loop, due_s)
