"""Which line is next, and when: those that wait for their turn, those that wait to be tried again,
and pauses of all of them. Decides only; time and dice are arguments.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

FIRST_S = 1.0
"""The first pause; each in a row is twice as long."""
PAUSE_MAX_S, AGAIN_MAX_S = 60.0, 300.0
"""The longest pause of all lines, and of one that fails by itself."""

W = TypeVar("W")


class Turns(Generic[W]):
    """The lines that are to be asked, first come, first served."""

    def __init__(self) -> None:
        self._ready: deque[W] = deque()
        self._later: list[tuple[float, int, W]] = []
        self._number = 0
        self._paused_until_s = 0.0
        self._pauses = 0

    @property
    def ready(self) -> int:
        """How many wait for nothing but their turn."""
        return len(self._ready)

    def put(self, work: W) -> None:
        """At the end."""
        self._ready.append(work)

    def put_back(self, work: W) -> None:
        """It had its turn and did not take it."""
        self._ready.appendleft(work)

    def put_off(self, work: W, rounds: int, now_s: float, dice: float) -> None:
        """It has failed for the `rounds`th time (>= 1), by itself."""
        self._number += 1
        wait_s = _backoff_s(rounds, AGAIN_MAX_S, dice)
        heapq.heappush(self._later, (now_s + wait_s, self._number, work))

    def pause(self, now_s: float, after_s: float | None, dice: float) -> bool:
        """Nobody has a turn for a while: until somebody's word (`after_s`), and twice as long as
        the last time at least. Several that hear the same at the same time make one pause. Whether
        it is the first since somebody had an answer."""
        if now_s < self._paused_until_s:
            return False
        self._pauses += 1
        wait_s = max(after_s or 0.0, _backoff_s(self._pauses, PAUSE_MAX_S, dice))
        self._paused_until_s = now_s + wait_s
        return self._pauses == 1

    def succeed(self) -> None:
        """Somebody has had an answer: the next pause is a first one."""
        self._pauses = 0

    def next(self, now_s: float) -> W | float | None:
        """Whose turn it is; or for how many seconds it is nobody's; None: there is nobody."""
        if not self._ready and not self._later:
            return None
        if now_s < self._paused_until_s:
            return self._paused_until_s - now_s
        if self._later and self._later[0][0] <= now_s:
            return heapq.heappop(self._later)[2]
        return self._ready.popleft() if self._ready else self._later[0][0] - now_s

    def drain(self) -> list[W]:
        """Everybody; afterwards there is nobody."""
        left = [*self._ready, *(work for _, _, work in self._later)]
        self._ready.clear()
        self._later.clear()
        return left


def _backoff_s(times: int, most_s: float, dice: float) -> float:
    """Between half of it and all of it, so that those who fail together do not come together."""
    return float(min(most_s, FIRST_S * 2 ** min(times - 1, 30))) * (0.5 + dice / 2)
