"""The values that breakers and gates hand out: permits, refusals, events and counters. Pure."""

from __future__ import annotations

from msgspec import Struct


class Permit(Struct, gc=False):
    """Leave to make one attempt. Hand it to `record` when that has ended, however it did."""

    epoch: int
    probe: int = 0
    """Number of the probe in HALF_OPEN; 0 for an ordinary call."""
    ended: bool = False
    voted: bool = False


class Refusal(Struct, frozen=True):
    """No, and when to ask again: never earlier, in seconds >= 0; None where nobody knows."""

    reason: str
    retry_after_s: float | None


class Event(Struct, frozen=True):
    """Something worth telling: `transition`, `reset`, `probe_lost`, `would_open` (METRICS_ONLY)."""

    kind: str
    at_s: float
    before: str
    after: str
    reason: str
    epoch: int
    open_s: float = 0.0
    """How long it will stay open, where it has just opened."""


class Counts(Struct):
    """Everything that ever happened at a breaker, since it was made."""

    ok: int = 0
    faults: int = 0
    slow: int = 0
    ignored: int = 0
    refused: int = 0
    late: int = 0
    """Results from an epoch before, which changed nothing."""
    probes_lost: int = 0
    repeated: int = 0
    """Permits that were ended a second time, which changed nothing."""
    transitions: int = 0
    events_dropped: int = 0
    open_s: float = 0.0
    """Seconds spent in OPEN and FORCED_OPEN, up to the last change of state."""
