"""The settings of the cache, common and per model, and what they come to for one model.

Field names are the keys of `headgate.toml` (users type them, so they carry no unit); the unit
stands in the type. This file imports core and types only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from headgate.core.units import Bounds, Bytes, Seconds
from headgate.types import Policy

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
    tool_calls: bool | None = None
    """As in [cache], for this model."""
    truncated: bool | None = None
    """As in [cache], for this model."""
    refusal_ttl: Annotated[Seconds | None, Bounds(0)] = None
    """As in [cache], for this model."""
    remote_media: bool | None = None
    """As in [cache], for this model."""
    hosted_tools: bool | None = None
    """As in [cache], for this model."""
    server_state: bool | None = None
    """As in [cache], for this model."""
    temperature_max: Annotated[float | None, Bounds(0)] = None
    """As in [cache], for this model."""


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
    shared_namespaces: tuple[str, ...] = ()
    """Namespaces whose entries all callers share, whoever they are."""
    entry_max_bytes: Annotated[Bytes, Bounds(1)] = 8_000_000
    """A larger answer is passed on and not kept."""
    tool_calls: bool = True
    """Keep answers that call functions: an equal conversation gets an equal call."""
    truncated: bool = True
    """Keep an answer cut at a limit that stands in the request; one cut at any other never is."""
    refusal_ttl: Annotated[Seconds, Bounds(0)] = 0.0
    """How long refused and filtered answers are kept; 0: not at all."""
    remote_media: bool = False
    """Cache requests that point to bytes elsewhere (URLs, file ids), which may change."""
    hosted_tools: bool = False
    """Cache requests with tools that the provider runs (search, MCP)."""
    server_state: bool = False
    """Cache requests that use state kept by the provider (store, previous_response_id)."""
    temperature_max: Annotated[float, Bounds(0)] = 2.0
    """Cache only requests at or below this temperature (1 where none is named); 2: any."""
    stale_if_error: Annotated[Seconds, Bounds(0)] = 0.0
    """How long past its time an entry may stand in for a failed call if the caller is silent."""
    max_stale: Annotated[Seconds, Bounds(0)] = 3600.0
    """The most that `stale-if-error` of a caller is worth; entries are kept so much longer."""
    finish_within: Annotated[Seconds, Bounds(0)] = 30.0
    """How long a stream whose last reader left is read on, to keep it; 0: it is cut at once."""
    replay_pause: Annotated[Seconds, Bounds(0)] = 0.0
    """Pause between two events of a replayed stream; 0: all at once."""
    models: dict[str, ModelCacheConfig] = field(default_factory=dict)
    """Per-model differences."""
    semantic: SemanticConfig = SemanticConfig()
    """Settings of the semantic cache."""


def ignored_fields(cache: CacheConfig) -> frozenset[str]:
    """The fields of a request that are not part of its key."""
    ignored = set(cache.ignore_fields)
    if cache.scope == "user":
        ignored -= {"user", "safety_identifier", "metadata"}
    return frozenset(ignored)


def policy_of(cache: CacheConfig, model: str) -> Policy:
    """What `cache` says of `model`: its own values where it has some, else the common ones."""
    own = cache.models.get(model)
    if own is None:
        own = ModelCacheConfig()

    def value(name: str) -> Any:
        special = getattr(own, name)
        return getattr(cache, name) if special is None else special

    return Policy(
        enabled=value("enabled"),
        ttl_s=value("ttl"),
        tool_calls=value("tool_calls"),
        truncated=value("truncated"),
        refusal_ttl_s=value("refusal_ttl"),
        remote_media=value("remote_media"),
        hosted_tools=value("hosted_tools"),
        server_state=value("server_state"),
        temperature_max=value("temperature_max"),
    )
