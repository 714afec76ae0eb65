"""The frozen block of settings of each layer: every default in sight, one line under each field.

Field names are the keys of `headgate.toml` (users type them, so they carry no unit); the unit
stands in the type. Those of the cache stand in a file of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from headgate.core.units import Bounds, Seconds
from headgate.layers.cache_settings import (
    IGNORED_FIELDS,
    CacheConfig,
    ModelCacheConfig,
    SemanticConfig,
    policy_of,
)


@dataclass(frozen=True)
class BatchConfig:
    """`[batch]`: read and checked, without effect in this version."""

    enabled: bool = False
    """Join small embedding calls into one request."""
    max_batch_size: Annotated[int, Bounds(1, 2048)] = 32
    """Items of one request at most."""
    batch_timeout: Annotated[Seconds, Bounds(0)] = 0.05
    """How long a lone item may wait for company."""


@dataclass(frozen=True)
class BreakerConfig:
    """`[breaker]`: read and checked, without effect in this version."""

    enabled: bool = False
    """Stop asking a provider that keeps failing."""
    failure_threshold: Annotated[int, Bounds(1)] = 5
    """Failures that open the breaker."""
    recovery_timeout: Annotated[Seconds, Bounds(0, above=True)] = 60.0
    """How long it stays open before it lets a probe through."""
    success_threshold: Annotated[int, Bounds(1)] = 2
    """Successful probes that close it."""


@dataclass(frozen=True)
class RetryConfig:
    """`[retry]`: no settings in this version."""


@dataclass(frozen=True)
class LimitsConfig:
    """`[limits]`: no settings in this version."""


@dataclass(frozen=True)
class MetricsConfig:
    """`[metrics]`: how numbers are shown."""

    naming: Literal["compat"] = "compat"
    """Metric names on /metrics: the seed's own, unsuffixed."""


__all__ = [
    "IGNORED_FIELDS",
    "BatchConfig",
    "BreakerConfig",
    "CacheConfig",
    "LimitsConfig",
    "MetricsConfig",
    "ModelCacheConfig",
    "RetryConfig",
    "SemanticConfig",
    "policy_of",
]
