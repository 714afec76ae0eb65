"""The frozen block of settings of each layer: every default in sight, one line under each field.

Field names are the keys of `headgate.toml` (users type them, so they carry no unit); the unit
stands in the type. Those of the cache stand in a file of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from headgate.core.units import Bounds, Bytes, Seconds
from headgate.jobs.settings import JobsConfig
from headgate.layers.cache_settings import (
    IGNORED_FIELDS,
    CacheConfig,
    ModelCacheConfig,
    SemanticConfig,
    policy_of,
)


@dataclass(frozen=True)
class BatchConfig:
    """`[batch]`: embeddings calls that go upstream together, in one request."""

    enabled: bool = True
    """Join small embeddings calls, and know the inputs of a list each by itself."""
    items_max: Annotated[int, Bounds(1, 2048)] = 32
    """Inputs of one request that several calls share; a list of one call is never divided."""
    tokens_max: Annotated[int, Bounds(1, 1_000_000_000)] = 100_000
    """Tokens of such a request, by estimate."""
    delay_max: Annotated[Seconds, Bounds(0)] = 0.005
    """How long a call waits for company while others of its kind are under way; 50 ms at most."""
    queue_max: Annotated[int, Bounds(1, 10_000_000)] = 10_000
    """Inputs of one kind that wait; one more is refused (503)."""
    across_tenants: bool = False
    """Send inputs of different tenants in one request."""
    jobs: JobsConfig = JobsConfig()


@dataclass(frozen=True)
class BreakerConfig:
    """`[breaker]`: when a target is left alone for a while, and how it is tried again."""

    enabled: bool = True
    """Stop asking a provider, a model or a key that keeps failing."""
    callables: bool = False
    """Guard the callables of the library, too, each model by itself."""
    failure_threshold: Annotated[int, Bounds(0)] = 0
    """Failures in a row that open the breaker at any volume; 0: only the rates below do."""
    recovery_timeout: Annotated[Seconds, Bounds(0, above=True)] = 5.0
    """How long it stays open the first time; doubles with each opening in a row."""
    success_threshold: Annotated[int, Bounds(1)] = 3
    """Successful probes that close it."""
    probes_at_once: Annotated[int, Bounds(1)] = 1
    """Probes in flight at the same time."""
    open_max: Annotated[Seconds, Bounds(0, above=True)] = 300.0
    """It stays open no longer than this, whatever a Retry-After says."""
    window: Annotated[Seconds, Bounds(0, above=True)] = 30.0
    """How far back the rates look."""
    calls_min: Annotated[int, Bounds(1)] = 20
    """Fewer calls in the window decide nothing."""
    fault_ratio: Annotated[float, Bounds(0, 1, above=True)] = 0.5
    """Share of failures from which on it opens."""
    slow_ratio: Annotated[float, Bounds(0, 1, above=True)] = 0.8
    """Share of slow calls from which on it opens."""
    slow_first_token: Annotated[Seconds, Bounds(0, above=True)] = 30.0
    """A stream whose first content takes longer is slow."""
    slow_total: Annotated[Seconds, Bounds(0, above=True)] = 60.0
    """A whole answer that takes longer is slow."""
    unreachable_in_row: Annotated[int, Bounds(1)] = 5
    """Failures to connect in a row that open it at any volume."""


@dataclass(frozen=True)
class RetryConfig:
    """`[retry]`: how often a call is tried, where nothing has reached the client yet."""

    attempts: Annotated[int, Bounds(1, 100)] = 3
    """Attempts of one call in all, those at other targets included; 1: none is repeated."""
    backoff: Annotated[Seconds, Bounds(0, above=True)] = 0.5
    """Longest pause before the first repeat; doubles with each; the pause is random up to that."""
    backoff_max: Annotated[Seconds, Bounds(0, above=True)] = 8.0
    """Longest pause of our own choice."""
    retry_after_max: Annotated[Seconds, Bounds(0, above=True)] = 60.0
    """Nobody is kept waiting for a longer Retry-After; the client is told of it instead."""
    budget: Annotated[float, Bounds(0, 1)] = 0.1
    """Repeats per first attempt that a target takes: an outage must not meet a multiple."""
    budget_floor: Annotated[int, Bounds(0, 1_000_000)] = 10
    """Repeats in 10 s that a target takes in any case."""
    hedge: bool = False
    """Ask a second deployment where the first takes longer to begin than 95 % of its answers."""
    hedge_budget: Annotated[float, Bounds(0, 1)] = 0.02
    """Second attempts per call at most; each may be billed."""
    deadline: Annotated[Seconds, Bounds(0, above=True)] = 600.0
    """All attempts of a call, to its answer or first content, if `headgate-deadline` is not set."""


@dataclass(frozen=True)
class LimitsConfig:
    """`[limits]`: how much may be under way at once, and how much in a minute."""

    concurrency_max: Annotated[int, Bounds(1, 100_000)] = 1000
    """Attempts under way at one target; where it says 429 or is overloaded, fewer: this adapts."""
    concurrency_start: Annotated[int | None, Bounds(1, 100_000)] = None
    """How many before anything is known of a target; absent: concurrency_max."""
    queue_max: Annotated[int, Bounds(0, 1_000_000)] = 1000
    """Calls that wait for a place at one target; one more is refused (503). 0: nobody waits."""
    queue_wait: Annotated[Seconds, Bounds(0, 600, above=True)] = 1.0
    """How long they wait; who has no place by then is refused (503)."""
    client_requests_per_minute: Annotated[int | None, Bounds(1, 1_000_000_000)] = None
    """Of each credential that clients send; hits do not count. Absent: no limit."""
    client_tokens_per_minute: Annotated[int | None, Bounds(1, 1_000_000_000_000)] = None
    """As reported by the provider, and estimated until it has. Absent: no limit."""
    calls_max: Annotated[int, Bounds(1, 1_000_000)] = 20_000
    """Calls in progress in one gateway process; one more is refused (503) at the door."""
    loop_lag_max: Annotated[Seconds, Bounds(0.01, 600)] = 0.25
    """While the gateway itself is later than this, calls are refused (503) at the door."""
    memory_max_bytes: Annotated[Bytes | None, Bounds(1_000_000)] = None
    """While the gateway's process holds more, calls are refused (503). Linux only. Absent: none."""


@dataclass(frozen=True)
class LedgerConfig:
    """`[ledger]`: what calls cost and saved, row by row; without a file only sums, in memory."""

    persist: bool = False
    """Keep every row on disk, in a file of its own that workers share."""
    path: str = "headgate-ledger.db"
    """The database file; its folder must exist."""
    keep: Annotated[Seconds, Bounds(3600)] = 400 * 86_400.0
    """Older rows go; what they add up to is kept by day, model and kind."""
    rows_max: Annotated[int, Bounds(1000, 1_000_000_000)] = 1_000_000
    """More rows go too, the oldest first: 1,000,000 take about 200 MB."""


@dataclass(frozen=True)
class MetricsConfig:
    """`[metrics]`: how numbers are shown."""

    naming: Literal["compat", "standard", "both"] = "compat"
    """Names on /metrics: those of the seed's queries (compat), Prometheus's usual ones, or both."""
    otel: bool = False
    """Spans and metrics by OpenTelemetry, set up by its own `OTEL_...` variables; an extra."""


__all__ = ["IGNORED_FIELDS", "BatchConfig", "BreakerConfig", "CacheConfig", "JobsConfig",
           "LedgerConfig", "LimitsConfig", "MetricsConfig", "ModelCacheConfig", "RetryConfig",
           "SemanticConfig", "policy_of"]  # fmt: skip
