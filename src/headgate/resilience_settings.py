"""From the settings that users type to those that cores and layers take."""

from __future__ import annotations

from collections.abc import Callable

from headgate.config import Config
from headgate.core.allowance import AllowanceSettings
from headgate.core.breaker_settings import BreakerSettings
from headgate.layers.settings import BreakerConfig, RetryConfig
from headgate.providers.settings import REASONING_FIRST_TOKEN_S
from headgate.types import Call

_LEASE_MORE_S = 5.0
_OPEN_MIN_S = 1.0


def allowance_settings(config: RetryConfig) -> AllowanceSettings:
    """How much may be tried again. Raises ConfigError for a number out of its range."""
    return AllowanceSettings(
        attempts_max=config.attempts,
        budget_share=config.budget,
        budget_floor=config.budget_floor,
        retry_after_max_s=config.retry_after_max,
    )


def breaker_settings(config: BreakerConfig, *, lease_s: float) -> BreakerSettings:
    """How every breaker of the stack is set; a probe counts as lost after `lease_s`. Raises
    ConfigError for a number out of its range."""
    return BreakerSettings(
        window_s=config.window,
        calls_min=config.calls_min,
        fault_ratio=config.fault_ratio,
        slow_ratio=config.slow_ratio,
        slow_first_token_s=config.slow_first_token,
        slow_total_s=config.slow_total,
        local_faults_in_row=config.unreachable_in_row,
        faults_in_row=config.failure_threshold or None,
        open_base_s=config.recovery_timeout,
        open_min_s=min(_OPEN_MIN_S, config.recovery_timeout),
        open_max_s=max(config.open_max, config.recovery_timeout),
        probes_needed=config.success_threshold,
        probes_at_once=config.probes_at_once,
        probe_lease_s=lease_s,
    )


def lease_s(config: Config) -> float:
    """How long an attempt may take at most, and a little more."""
    limits = [provider.total_timeout for provider in config.providers.values()]
    limits += [model.total_timeout for model in config.models.values() if model.total_timeout]
    return max(limits, default=600.0) + _LEASE_MORE_S


def first_token_limits(config: Config) -> Callable[[Call], float]:
    """How long a streamed call may take to its first content, in seconds; 0 where its provider is
    not configured: an SDK keeps its own time."""
    usual = {name: provider.first_token_timeout for name, provider in config.providers.items()}
    own: dict[str, float] = {}
    for name, model in config.models.items():
        if model.first_token_timeout:
            own[name] = model.first_token_timeout
        elif model.reasoning:
            own[name] = REASONING_FIRST_TOKEN_S

    def limit_s(call: Call) -> float:
        common_s = usual.get(call.target.provider, 0.0)
        return own.get(call.settings_name, common_s) if common_s else 0.0

    return limit_s
