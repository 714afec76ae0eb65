"""A model with several deployments, all of them played by one fault server: scripts tell them apart
by the model's name there, `m1`, `m2`, `m3`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lab import KEY

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.layers.settings import RetryConfig
from headgate.testing import FaultServer
from headgate.types import Secret

QUICK = RetryConfig(backoff=0.01, backoff_max=0.05)


def several(
    server: FaultServer,
    count: int = 2,
    *,
    retry: RetryConfig = QUICK,
    model: dict[str, Any] | None = None,
    blocks: dict[str, Any] | None = None,
    **provider: Any,
) -> Config:
    """`m` leads to `p1/m1`, `p2/m2`, ... and in Anthropic's dialect to `c1/m1`, ...; each has the
    key of the laboratory's clients, so that the fault server takes all calls for that tenant's:
    what a client sends goes to one provider only. `provider` and `model` are settings of each."""
    if "api_keys" not in provider:
        provider.setdefault("api_key", Secret(KEY))
    kinds = {"p": ("openai", server.base_url), "c": ("anthropic", server.anthropic_base_url)}
    providers = {
        f"{letter}{number}": ProviderConfig(kind=kind, base_url=url, **provider)  # type: ignore[arg-type]
        for letter, (kind, url) in kinds.items()
        for number in range(1, count + 1)
    }
    targets = tuple(f"{name}/m{name[1:]}" for name in providers)
    models = {"m": ModelConfig(**{"targets": targets, **(model or {})})}
    return Config(providers=providers, models=models, retry=retry, **(blocks or {}))


def first_limited(server: FaultServer, **limits: float) -> Config:
    """Two deployments, the first of which has these limits: the other one answers in any case,
    however slow the machine is."""
    config = several(server, 2)
    providers = {
        name: replace(provider, **limits) if name.endswith("1") else provider  # type: ignore[arg-type]
        for name, provider in config.providers.items()
    }
    return replace(config, providers=providers)
