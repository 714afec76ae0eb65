"""Requests and tokens per minute: reserve before an attempt, settle after it. Pure.

Two buckets that refill evenly. In any stretch of time no more passes than one burst and what was
refilled in that stretch. Tokens are reserved by estimate and settled by what the provider counted,
so a bucket can go into debt, by one burst at most. Not thread-safe: the caller holds a lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Annotated

from msgspec import Struct

from headgate.core.permits import Refusal
from headgate.core.settings import Checked
from headgate.core.units import Bounds, Seconds

REQUESTS, TOKENS = "requests", "tokens"
"""Reasons of a refusal: the dimension that is used up."""

# What was refilled must not be a rounding error short of what was asked for.
_SLACK = 1e-6
_COUNT_MAX = 10**12


@dataclass(frozen=True)
class RateSettings(Checked):
    """Limits per minute. Raises ConfigError with every number that is out of its range."""

    requests_per_min: Annotated[int | None, Bounds(1, _COUNT_MAX)] = None
    """None: no such limit."""
    tokens_per_min: Annotated[int | None, Bounds(1, _COUNT_MAX)] = None
    """None: no such limit."""
    burst_s: Annotated[Seconds, Bounds(1, 60)] = 60.0
    """How many seconds' worth may go at once after a rest; less makes the traffic smoother."""


class Reservation(Struct):
    """A place in the rate. It ends once: settled, or released."""

    tokens: int
    ended: bool = False


class _Bucket:
    """Holds at most `capacity`; what is taken comes back at `per_s`. Below 0 it is in debt."""

    __slots__ = ("_at_s", "capacity", "level", "per_s")

    def __init__(self, per_min: int, burst_s: float, now_s: float) -> None:
        self.per_s = per_min / 60
        # A burst shorter than one request's worth of time would let nothing pass, ever.
        self.capacity = max(1.0, self.per_s * burst_s)
        self.level = self.capacity
        self._at_s = now_s

    def refill(self, now_s: float) -> None:
        passed_s = max(0.0, now_s - self._at_s)
        self._at_s += passed_s
        self.level = min(self.capacity, self.level + passed_s * self.per_s)

    def wait_s(self, amount: float) -> float:
        """Seconds until `amount` is there; 0 if it is. More than it ever holds needs a full one."""
        missing = min(amount, self.capacity) - self.level
        return missing / self.per_s if missing > _SLACK else 0.0

    def take(self, amount: float) -> None:
        self.level = max(-self.capacity, self.level - amount)


class Rate:
    """The rate of one limited thing: a deployment's credential, or a client. `now_s` is monotonic
    seconds."""

    __slots__ = ("_requests", "_tokens", "is_limited", "pending", "refused")

    def __init__(self, settings: RateSettings, now_s: float) -> None:
        self._requests = _bucket(settings.requests_per_min, settings.burst_s, now_s)
        self._tokens = _bucket(settings.tokens_per_min, settings.burst_s, now_s)
        self.is_limited = self._requests is not None or self._tokens is not None
        self.refused = 0
        self.pending = 0
        """Reservations that have not ended."""

    def reserve(self, tokens: int, now_s: float) -> Reservation | Refusal:
        """Takes one request and `tokens` (>= 0, an estimate), or neither.

        A refusal says when there will be room, if nobody else comes. An estimate larger than a
        burst passes when the bucket is full, and leaves a debt.
        """
        if not self.is_limited:
            self.pending += 1
            return Reservation(tokens)
        request_wait_s = self._wait_s(self._requests, 1, now_s)
        token_wait_s = self._wait_s(self._tokens, tokens, now_s)
        if request_wait_s or token_wait_s:
            self.refused += 1
            reason = TOKENS if token_wait_s > request_wait_s else REQUESTS
            return Refusal(reason, max(request_wait_s, token_wait_s))
        self._take(1, tokens)
        self.pending += 1
        return Reservation(tokens)

    def settle(self, reservation: Reservation, tokens: int, now_s: float) -> None:
        """The attempt has ended and used `tokens`: the difference comes back, or is owed. A failed
        attempt counts too, as providers count it."""
        self._end(reservation, 0, tokens - reservation.tokens, now_s)

    def release(self, reservation: Reservation, now_s: float) -> None:
        """Nothing was sent: everything comes back."""
        self._end(reservation, -1, -reservation.tokens, now_s)

    @property
    def counts_tokens(self) -> bool:
        """Whether an estimate is worth its making."""
        return self._tokens is not None

    def has_spare(self, now_s: float) -> bool:
        """Whether half of every burst is left: room for what can wait."""
        for bucket in (self._requests, self._tokens):
            if bucket is not None:
                bucket.refill(now_s)
                if bucket.level * 2 < bucket.capacity:
                    return False
        return True

    def is_idle(self, now_s: float) -> bool:
        """Whether a new one would say the same: nothing is reserved, and every bucket is full."""
        waits = (
            self._wait_s(bucket, ceil(bucket.capacity), now_s)
            for bucket in (self._requests, self._tokens)
            if bucket is not None
        )
        return not self.pending and not any(waits)

    def _end(self, reservation: Reservation, requests: int, tokens: int, now_s: float) -> None:
        if reservation.ended:
            return
        reservation.ended = True
        self.pending -= 1
        if not self.is_limited:
            return
        for bucket in (self._requests, self._tokens):
            if bucket is not None:
                bucket.refill(now_s)
        self._take(requests, tokens)

    def _take(self, requests: int, tokens: int) -> None:
        if self._requests is not None:
            self._requests.take(requests)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def _wait_s(self, bucket: _Bucket | None, amount: int, now_s: float) -> float:
        if bucket is None:
            return 0.0
        bucket.refill(now_s)
        return bucket.wait_s(amount)


def _bucket(per_min: int | None, burst_s: float, now_s: float) -> _Bucket | None:
    return None if per_min is None else _Bucket(per_min, burst_s, now_s)
