"""The whole configuration as one frozen value: every default in sight, nothing read from anywhere.

`Config.load` (file and environment) lives in `config_file.py`, which is imported only then: it
needs pydantic, and `import headgate` must stay under 100 ms.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from headgate.core.units import Bounds, Bytes, Seconds
from headgate.jobs.limits_settings import BatchApiConfig
from headgate.layers.settings import (
    BatchConfig,
    BreakerConfig,
    CacheConfig,
    LedgerConfig,
    LimitsConfig,
    MetricsConfig,
    ModelCacheConfig,
    RetryConfig,
)
from headgate.providers.settings import ModelConfig, PriceConfig, ProviderConfig
from headgate.types import Secret


@dataclass(frozen=True)
class ServerConfig:
    """`[server]`: the gateway's own socket."""

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs an admin_token, and client keys."""
    port: Annotated[int, Bounds(0, 65535)] = 4000
    """Port to listen on; 0 takes a free one."""
    workers: Annotated[int, Bounds(1, 64)] = 1
    """Processes; more than one share a cache only with cache.persist."""
    admin_token: Secret = Secret("")
    """Admin routes ask for it as `Authorization: Bearer ...`."""
    insecure_open: bool = False
    """Answer other machines although there are no client keys: whoever reaches it may call."""
    drain_timeout: Annotated[Seconds, Bounds(0)] = 60.0
    """How long running calls may finish after SIGTERM."""
    body_max_bytes: Annotated[Bytes, Bounds(1024)] = 10_000_000
    """A larger request body is refused with 413."""
    header_timeout: Annotated[Seconds, Bounds(0, above=True)] = 10.0
    """How long the head of a request may take, from its connection or first byte on."""
    body_timeout: Annotated[Seconds, Bounds(0, above=True)] = 30.0
    """How long a request body may stand still before 408; all of it may take ten times as long."""
    connections_max: Annotated[int, Bounds(1, 1_000_000)] = 10_000
    """Client connections of one process; one more is refused with 503."""
    write_timeout: Annotated[Seconds, Bounds(0, above=True)] = 60.0
    """A client that reads nothing of its answer for so long loses its connection."""
    log_format: Literal["text", "json"] = "text"
    """What the gateway writes to stderr: lines for people, or one JSON object for each event."""
    log_calls: Literal["auto", "on", "off"] = "auto"
    """A line for each call that has ended; auto: in JSON only."""
    log_content: bool = False
    """The beginning of each request and whole answer in these lines (JSON only): personal data."""


@dataclass(frozen=True)
class CallsConfig:
    """`[calls]`: the log of the last calls, in memory; no text of prompts or answers."""

    keep: Annotated[int, Bounds(0, 100_000)] = 1000
    """So many that memory answered, and so many others; 0: none."""


@dataclass(frozen=True)
class KeysConfig:
    """`[keys]`: keys that you give to your clients; once there is one, every call needs one."""

    path: str = "headgate-keys.db"
    """The file that `headgate keys create` makes; its folder must exist."""
    pepper: Secret = Secret("")
    """What digests of keys are made with; absent: the file beside, made with the first key."""
    unpriced: Literal["deny", "allow"] = "deny"
    """Calls of a key with a budget to a model without a price: refused (403), or uncounted."""


@dataclass(frozen=True)
class Config:
    """Everything headgate can be told. `Config()` is complete: memory cache, no providers.

    Raises ConfigError from `load` and `from_runtime_settings`, with every problem found.
    """

    server: ServerConfig = ServerConfig()
    cache: CacheConfig = CacheConfig()
    batch: BatchConfig = BatchConfig()
    breaker: BreakerConfig = BreakerConfig()
    retry: RetryConfig = RetryConfig()
    limits: LimitsConfig = LimitsConfig()
    metrics: MetricsConfig = MetricsConfig()
    calls: CallsConfig = CallsConfig()
    ledger: LedgerConfig = LedgerConfig()
    keys: KeysConfig = KeysConfig()
    providers: dict[str, ProviderConfig] = field(default_factory=dict)
    models: dict[str, ModelConfig] = field(default_factory=dict)
    prices: dict[str, PriceConfig] = field(default_factory=dict)
    batch_api: dict[str, BatchApiConfig] = field(default_factory=dict)

    @staticmethod
    def load(path: str | Path, *, environment: Mapping[str, str] | None = None) -> Config:
        """The configuration in the TOML file at `path`; `${VAR}` is taken from `environment`
        (default: the process's own)."""
        loaded: Config = _files().load(Path(path), environment)
        return loaded

    @staticmethod
    def from_runtime_settings(
        settings: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Config:
        """The configuration of an N3 app: `RUNTIME_SETTINGS` and `MODEL_CACHE_CONFIG` as they
        stand in the seed document (times in seconds, `batch_timeout_ms` in milliseconds)."""
        loaded: Config = _files().from_runtime_settings(settings, models or {})
        return loaded


def _files() -> Any:
    return importlib.import_module("headgate.config_file")


__all__ = [
    "BatchApiConfig",
    "CallsConfig",
    "Config",
    "KeysConfig",
    "ModelCacheConfig",
    "ModelConfig",
    "PriceConfig",
    "ProviderConfig",
    "ServerConfig",
]
