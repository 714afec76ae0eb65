"""When a breaker opens, for how long, and how it probes: every default in one frozen block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from headgate.core.settings import Checked
from headgate.core.units import Bounds, Seconds
from headgate.errors import Problem

Share = Annotated[float, Bounds(0, 1, above=True)]
Count = Annotated[int, Bounds(1)]
Duration = Annotated[Seconds, Bounds(0, above=True)]


@dataclass(frozen=True)
class BreakerSettings(Checked):
    """Settings of one breaker. Raises ConfigError with every number that is out of its range."""

    window_s: Duration = 30.0
    """Length of the window, in ten buckets."""
    window_calls: Annotated[int | None, Bounds(1, 1_000_000)] = None
    """If set, the window is the last so many outcomes instead of the last seconds."""
    calls_min: Count = 20
    """Fewer outcomes in the window than this decide nothing; clamped to `window_calls`."""
    fault_ratio: Share = 0.5
    """Share of faults, in (0, 1], from which on the breaker opens."""
    slow_ratio: Share = 0.8
    """Share of slow calls, in (0, 1], from which on it opens."""
    slow_first_token_s: Annotated[Seconds | None, Bounds(0, above=True)] = 30.0
    """A stream whose first token takes longer is slow; None: none is."""
    slow_total_s: Annotated[Seconds | None, Bounds(0, above=True)] = 60.0
    """A whole reply that takes longer is slow; None: none is."""
    local_faults_in_row: Annotated[int | None, Bounds(1)] = 5
    """Failures to reach the endpoint in a row that open it at any volume; None: no such rule."""
    faults_in_row: Annotated[int | None, Bounds(1)] = None
    """Faults of any origin in a row that open it at any volume; None: no such rule."""
    open_base_s: Duration = 5.0
    """How long it stays open the first time."""
    open_min_s: Duration = 1.0
    """At least so long, whatever the jitter."""
    open_max_s: Duration = 300.0
    """At most so long, whatever a Retry-After says."""
    open_growth: Annotated[float, Bounds(1, 10)] = 2.0
    """Factor between one opening and the next in a row; 1 for none."""
    open_jitter: Annotated[float, Bounds(0, 1)] = 0.5
    """The open time is multiplied by a random number in (1 - this, 1]; 0 for none."""
    probes_needed: Count = 3
    """Successful probes that close it."""
    probes_at_once: Count = 1
    """Probes in flight at the same time."""
    probe_lease_s: Duration = 605.0
    """A probe without a result after this time is lost, which is a fault: the attempt's timeout
    and 5 s."""

    def contradictions(self) -> Iterator[Problem]:
        for name in ("open_base_s", "open_min_s"):
            if getattr(self, name) > self.open_max_s:
                message = f"must be at most open_max_s ({self.open_max_s:g})"
                yield Problem(name, f"{message}, got {getattr(self, name)!r}")

    @property
    def calls_needed(self) -> int:
        """Outcomes in the window that its rates need: a small count window is never too small."""
        return min(self.calls_min, self.window_calls or self.calls_min)


@dataclass(frozen=True)
class _Simple(Checked):
    failure_threshold: Count
    recovery_timeout: Duration
    success_threshold: Count


def simple_settings(
    failure_threshold: int = 5, recovery_timeout: float = 60.0, success_threshold: int = 2
) -> BreakerSettings:
    """The breaker that three numbers describe, as N3's settings have them.

    `failure_threshold` faults in a row open it; so does a window in which half the calls are
    faults, as soon as it holds that many of them: four faults in five never come five in a row.
    It stays open for exactly `recovery_timeout` seconds, each time, unless a Retry-After asks for
    more; `success_threshold` successful probes close it. No call is slow. Raises ConfigError by
    these names.
    """
    _Simple(failure_threshold, recovery_timeout, success_threshold)
    usual = BreakerSettings()
    faults_needed = math.ceil(failure_threshold / usual.fault_ratio)
    return BreakerSettings(
        calls_min=max(usual.calls_min, faults_needed),
        slow_first_token_s=None,
        slow_total_s=None,
        local_faults_in_row=None,
        faults_in_row=failure_threshold,
        open_base_s=recovery_timeout,
        open_min_s=recovery_timeout,
        open_max_s=max(usual.open_max_s, recovery_timeout),
        open_growth=1.0,
        open_jitter=0.0,
        probes_needed=success_threshold,
    )
