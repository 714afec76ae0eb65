"""Which calls go upstream together, and when. Pure: time is an argument.

A *lot* is what one call has to ask for, and is never divided. Lots that may go together wait in one
*queue*, at most `delay_s`; queues that lead to one place share a *station*, which serves them in
turn, so that whoever asks for much delays nobody by more than what is under way. Where nothing of
its queue is under way a lot goes at once: company costs time only where there is some. Not
thread-safe: belongs to one event loop.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from typing import Any

from msgspec import Struct

DELAY_MAX_S = 0.05
"""Nobody waits longer for company, whatever is configured."""
_LATENCY_SHARE = 0.3
"""Weight of the last answer in what the next one is expected to take."""


class BatchBounds(Struct, frozen=True):
    """When a request is full, how long its first lot waits, and how many inputs may wait."""

    items_max: int = 32
    tokens_max: int = 100_000
    delay_s: float = 0.005
    queue_max: int = 10_000
    under_way_max: int = 1_000
    """Requests at one place at once; what is more waits, and is served in turn."""


class Lot:
    """What one call has to ask for: `members` are anybody's, one for each input."""

    __slots__ = ("due_s", "is_waiting", "joins", "members", "owner", "since_s", "tenant", "tokens")

    def __init__(self, owner: object, tenant: Hashable, now_s: float) -> None:
        self.owner = owner
        self.tenant = tenant
        self.members: list[Any] = []
        self.tokens = 0
        self.since_s = now_s
        self.due_s = now_s
        self.joins = True
        """Whether it may have company."""
        self.is_waiting = True


class Queue:
    """Lots that may go together, by tenant."""

    __slots__ = ("items", "latency_s", "name", "tenants", "tokens", "under_way")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.tenants: dict[Hashable, deque[Lot]] = {}
        self.items = self.tokens = self.under_way = 0
        self.latency_s = 0.0
        """What an answer is expected to take; 0 before the first."""

    def due_s(self) -> float:
        """When the first of its lots has waited long enough."""
        return min((lots[0].due_s for lots in self.tenants.values()), default=math.inf)

    def add(self, lot: Lot) -> None:
        """Behind those of its tenant, which it takes along where it has less time than they."""
        lots = self.tenants.setdefault(lot.tenant, deque())
        for earlier in reversed(lots):
            if earlier.due_s <= lot.due_s:
                break
            earlier.due_s = lot.due_s
        lots.append(lot)

    def last(self, tenant: Hashable) -> Lot | None:
        """The lot of this tenant that came last, where one waits."""
        lots = self.tenants.get(tenant)
        return lots[-1] if lots else None

    def first(self) -> Lot:
        """The oldest lot of the tenant whose turn it is; only where one waits."""
        return next(iter(self.tenants.values()))[0]

    def take(self) -> Lot:
        """As `first`, and it is another tenant's turn."""
        tenant = next(iter(self.tenants))
        lots = self.tenants.pop(tenant)
        lot = lots.popleft()
        if lots:
            self.tenants[tenant] = lots
        self.items -= len(lot.members)
        self.tokens -= lot.tokens
        lot.is_waiting = False
        return lot

    def drop(self, lot: Lot) -> None:
        """Nobody waits for this lot any more; its members have left."""
        lots = self.tenants[lot.tenant]
        lots.remove(lot)
        if not lots:
            del self.tenants[lot.tenant]
        lot.is_waiting = False


class Batch(Struct):
    """Lots that go in one request."""

    queue: Queue
    lots: list[Lot]
    sent_s: float


class Arrival(Struct, frozen=True):
    """One input that has to be asked for."""

    member: Any
    owner: object
    """Inputs of one owner, one call, are one lot."""
    tenant: Hashable
    tokens: int
    is_alone: bool
    """The only one of its call: it may wait for company. A list does not: it is company itself."""
    joins: bool = True
    slack_s: float = math.inf
    """How long its caller waits for the answer."""


class Station:
    """The way to one place. `now_s` is monotonic seconds."""

    __slots__ = ("_bounds", "_queues", "under_way")

    def __init__(self, bounds: BatchBounds) -> None:
        self._bounds = bounds
        self._queues: dict[Hashable, Queue] = {}
        """In the order of their turns."""
        self.under_way = 0

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not self._queues

    def arrive(self, name: Hashable, arrival: Arrival, now_s: float) -> Lot | None:
        """The lot in which this input waits from now on; None where there is no room."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = Queue(name)
        if queue.items >= self._bounds.queue_max:
            return None
        lot = queue.last(arrival.tenant)
        if lot is None or lot.owner is not arrival.owner:
            lot = Lot(arrival.owner, arrival.tenant, now_s)
            wait_s = self._bounds.delay_s if arrival.is_alone and arrival.joins else 0.0
            lot.due_s += min(wait_s, max(0.0, arrival.slack_s - queue.latency_s))
            queue.add(lot)
        lot.members.append(arrival.member)
        lot.tokens += arrival.tokens
        lot.joins = lot.joins and arrival.joins
        queue.items += 1
        queue.tokens += arrival.tokens
        return lot

    def leave(self, name: Hashable, lot: Lot, member: object, tokens: int) -> None:
        """A caller has left before its lot went: it is not asked for."""
        queue = self._queues[name]
        lot.members.remove(member)
        lot.tokens -= tokens
        queue.items -= 1
        queue.tokens -= tokens
        if not lot.members:
            queue.drop(lot)
        self._forget(queue)

    def next(self, now_s: float) -> Batch | None:
        """What goes now: the batch of the queue whose turn it is among those that wait no longer.
        It must come back to `over`."""
        if self.under_way >= self._bounds.under_way_max:
            return None
        for name, queue in self._queues.items():
            if self._is_ready(queue, now_s):
                # The next turn is another's.
                self._queues[name] = self._queues.pop(name)
                return self._taken(queue, now_s)
        return None

    def over(self, batch: Batch, now_s: float) -> None:
        """The answer is here, or will not come."""
        queue = batch.queue
        self.under_way -= 1
        queue.under_way -= 1
        took_s = now_s - batch.sent_s
        known_s = queue.latency_s or took_s
        queue.latency_s = known_s + _LATENCY_SHARE * (took_s - known_s)
        self._forget(queue)

    def wake_s(self) -> float:
        """When to ask `next` again where nothing else happens; infinity: not before `over`."""
        if self.under_way >= self._bounds.under_way_max:
            return math.inf
        return min((queue.due_s() for queue in self._queues.values()), default=math.inf)

    def _is_ready(self, queue: Queue, now_s: float) -> bool:
        if not queue.items:
            return False
        bounds = self._bounds
        is_full = queue.items >= bounds.items_max or queue.tokens >= bounds.tokens_max
        return is_full or not queue.under_way or queue.due_s() <= now_s

    def _taken(self, queue: Queue, now_s: float) -> Batch:
        lots = [queue.take()]
        items, tokens = len(lots[0].members), lots[0].tokens
        while lots[0].joins and queue.items:
            lot = queue.first()
            items, tokens = items + len(lot.members), tokens + lot.tokens
            if not lot.joins or items > self._bounds.items_max or tokens > self._bounds.tokens_max:
                break
            lots.append(queue.take())
        self.under_way += 1
        queue.under_way += 1
        return Batch(queue, lots, now_s)

    def _forget(self, queue: Queue) -> None:
        if not (queue.items or queue.under_way):
            self._queues.pop(queue.name, None)
