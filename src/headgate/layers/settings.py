"""The frozen block of settings of each layer: every default in sight, one line under each field.

Field names are the keys of `headgate.toml` (users type them, so they carry no unit); the unit
stands in the type. This file imports core only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from headgate.core.units import Bounds, Bytes, Seconds

IGNORED_FIELDS = (
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
)


@dataclass(frozen=True)
class ModelCacheConfig:
    """`[cache.models."NAME"]`: what differs from `[cache]` for one model."""

    ttl: Annotated[Seconds | None, Bounds(0, above=True)] = None
    """Time to live of this model's entries; absent: as in [cache]."""
    enabled: bool | None = None
    """Whether this model's answers are cached at all; absent: as in [cache]."""


@dataclass(frozen=True)
class SemanticConfig:
    """`[cache.semantic]`: not available in this version; `enabled = true` is refused."""

    enabled: bool = False
    """Serve answers to questions that mean the same."""


@dataclass(frozen=True)
class CacheConfig:
    """`[cache]`: what is kept, for how long, and where."""

    enabled: bool = True
    """Off: every call goes upstream."""
    maxsize: Annotated[int, Bounds(0)] = 1000
    """Entries in memory; 0 keeps none."""
    max_bytes: Annotated[Bytes, Bounds(0)] = 256_000_000
    """Bytes of entries in memory; 0 keeps none."""
    ttl: Annotated[Seconds, Bounds(0, above=True)] = 3600.0
    """Time to live of an entry; per-model values win, callers may ask for less."""
    persist: bool = False
    """Keep entries on disk too: they survive restarts and are shared by processes."""
    persist_path: str = "headgate-cache.db"
    """The database file; its folder must exist."""
    persist_max_bytes: Annotated[Bytes, Bounds(1_000_000)] = 1_000_000_000
    """Bytes of entries on disk; the oldest-used go first."""
    store: str = ""
    """URL of a shared store instead of disk (redis://...); not available in this version."""
    policy: Literal["lru"] = "lru"
    """Who goes first when memory is full: the least recently used."""
    scope: Literal["tenant", "user"] = "tenant"
    """Who shares an entry: one tenant, or one end user (`user`, `safety_identifier`) inside it."""
    ignore_fields: tuple[str, ...] = IGNORED_FIELDS
    """Top-level body fields that do not enter the key: labels that cannot change an answer."""
    models: dict[str, ModelCacheConfig] = field(default_factory=dict)
    """Per-model differences."""
    semantic: SemanticConfig = SemanticConfig()
    """Settings of the semantic cache."""


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
