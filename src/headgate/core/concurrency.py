"""How many attempts may be under way, and who waits for a place. Decisions only; pure.

`Concurrency` adapts by AIMD (TCP's rule; Netflix concurrency-limits' AIMDLimit): one more where the
room was used, a tenth less where there was too much. Round-trip time is no signal here, because it
follows the length of the answer. `Line` is the bounded queue in front. Not thread-safe: the caller
holds a lock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Struct

from headgate.core.outcome import OK, Outcome
from headgate.core.permits import Refusal
from headgate.core.settings import Checked
from headgate.core.units import Bounds, Seconds
from headgate.errors import Problem

FULL, DEADLINE = "queue_full", "deadline"
"""Reasons of a refusal."""
LAG, MEMORY, CALLS = "loop_lag", "memory", "calls"
"""Reasons to shed."""

_TICK_S = 1e-9
_SPREAD_S = 3


def ask_again_s(dice: float) -> float:
    """When to ask again where a place may be free at any moment: 1, 2 or 3 seconds by `dice`, a
    number in [0, 1). Whole ones: `Retry-After` has no others, and its jitter must not be lost."""
    return 1.0 + int(dice * _SPREAD_S)


@dataclass(frozen=True)
class ConcurrencySettings(Checked):
    """Bounds of an adaptive limit. Raises ConfigError with every number out of its range."""

    limit_min: Annotated[int, Bounds(1)] = 1
    """It never falls below; after a breaker has closed it begins here."""
    limit_start: Annotated[int, Bounds(1)] = 20
    """Where it starts otherwise."""
    limit_max: Annotated[int, Bounds(1)] = 200
    """It never rises above."""
    decrease: Annotated[float, Bounds(0, 1, above=True)] = 0.9
    """What remains of it after a drop."""

    def contradictions(self) -> Iterator[Problem]:
        for low, high in (("limit_min", "limit_start"), ("limit_start", "limit_max")):
            if getattr(self, low) > getattr(self, high):
                wanted = f"at most {high} ({getattr(self, high)})"
                yield Problem(low, f"must be {wanted}, got {getattr(self, low)}")


class Slot(Struct):
    """A place among those under way. It ends once."""

    ended: bool = False


class Concurrency:
    """The adaptive limit of one deployment and credential."""

    __slots__ = ("_room", "_settings", "in_flight", "limit")

    def __init__(self, settings: ConcurrencySettings) -> None:
        self._settings = settings
        self.limit = settings.limit_start
        self.in_flight = 0
        self._room = 0

    def enter(self) -> Slot | None:
        """A place, or None. Every place must come back to `leave`."""
        if self.in_flight >= self.limit:
            return None
        self.in_flight += 1
        return Slot()

    def leave(self, slot: Slot, outcome: Outcome) -> None:
        """The end of an attempt. A drop (429, 529, no first token in time) lowers the limit; a
        success raises it where at least half the room was in use, so that an idle time teaches
        nothing. The second end of a slot changes nothing."""
        if slot.ended:
            return
        slot.ended = True
        settings = self._settings
        if outcome.is_drop:
            self._room = 0
            self.limit = max(settings.limit_min, int(self.limit * settings.decrease))
        elif outcome.kind == OK and self.in_flight * 2 >= self.limit:
            self.limit = min(settings.limit_max, self.limit + 1)
        self.in_flight -= 1

    def restart(self) -> None:
        """A slow start, when the breaker has closed: from the least on, until there is as much room
        as before, or a drop."""
        self._room = max(self._room, self.limit)
        self.limit = self._settings.limit_min

    def grow(self) -> bool:
        """Twice the room, as a part of a slow start is over. Whether it goes on."""
        if self.limit < self._room:
            self.limit = min(self._room, self.limit * 2)
        if self.limit < self._room:
            return True
        self._room = 0
        return False


@dataclass(frozen=True)
class LineSettings(Checked):
    """Bounds of a queue. Raises ConfigError with every number that is out of its range."""

    places_max: Annotated[int, Bounds(0, 1_000_000)] = 100
    """Who may wait at once, in each priority; 0: nobody."""
    wait_max_s: Annotated[Seconds, Bounds(0, above=True)] = 1.0
    """How long anybody waits."""


class Ticket(Struct):
    """A place in the queue."""

    number: int
    priority: int
    until_s: float
    """Refused when it is not its turn by then."""


class Line:
    """A bounded queue: the highest priority first, then first come, first served. `now_s` is
    monotonic seconds. Whoever left or was refused takes no room."""

    __slots__ = ("_issued", "_settings", "_waiting", "refused")

    def __init__(self, settings: LineSettings) -> None:
        self._settings = settings
        self._waiting: dict[int, dict[int, Ticket]] = {}
        self._issued = 0
        self.refused = 0

    def join(
        self, now_s: float, deadline_s: float = math.inf, priority: int = 0
    ) -> Ticket | Refusal:
        """A place, or why not. `deadline_s` is a moment: who has no time left does not wait."""
        if deadline_s <= now_s:
            return self._refuse(DEADLINE)
        places = self._waiting.get(priority, {})
        if len(places) >= self._settings.places_max:
            return self._refuse(FULL)
        self._waiting[priority] = places
        self._issued += 1
        ticket = Ticket(self._issued, priority, min(deadline_s, now_s + self._settings.wait_max_s))
        places[ticket.number] = ticket
        return ticket

    def leave(self, ticket: Ticket) -> bool:
        """Whether it was still waiting: it was cancelled, and its turn will not come."""
        return self._remove(ticket)

    def call(self, now_s: float) -> Ticket | None:
        """Whose turn it is; never one whose time is over."""
        for priority in sorted(self._waiting, reverse=True):
            places = self._waiting[priority]
            for ticket in places.values():
                if ticket.until_s - now_s > _TICK_S:
                    self._remove(ticket)
                    return ticket
        return None

    def expire(self, now_s: float) -> list[Ticket]:
        """Those whose time is over; they wait no longer and have to be refused."""
        late = [
            ticket
            for places in self._waiting.values()
            for ticket in places.values()
            if ticket.until_s - now_s <= _TICK_S
        ]
        for ticket in late:
            self._remove(ticket)
        self.refused += len(late)
        return late

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) if self._waiting else 0

    def _remove(self, ticket: Ticket) -> bool:
        places = self._waiting.get(ticket.priority, {})
        was_waiting = places.pop(ticket.number, None) is not None
        if not places:
            self._waiting.pop(ticket.priority, None)
        return was_waiting

    def _refuse(self, reason: str) -> Refusal:
        self.refused += 1
        return Refusal(reason, None)


@dataclass(frozen=True)
class ShedSettings(Checked):
    """When to turn calls away at the door. Raises ConfigError as the others do."""

    loop_lag_max_s: Annotated[Seconds, Bounds(0, above=True)] = 0.25
    """The event loop runs at most so late."""
    memory_max_bytes: Annotated[int | None, Bounds(1)] = None
    """Resident memory; None: no such limit."""
    calls_max: Annotated[int | None, Bounds(1)] = None
    """Calls in progress; None: no such limit."""


def why_shed(settings: ShedSettings, loop_lag_s: float, memory_bytes: int, calls: int = 0) -> str:
    """Why new calls are turned away now, "" if they are not. `calls` are those in progress."""
    if settings.calls_max is not None and calls >= settings.calls_max:
        return CALLS
    if loop_lag_s > settings.loop_lag_max_s:
        return LAG
    limit_bytes = settings.memory_max_bytes
    return MEMORY if limit_bytes is not None and memory_bytes > limit_bytes else ""
