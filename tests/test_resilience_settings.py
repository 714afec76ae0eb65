"""Typed settings, as cores and layers take them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tries import a_call

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.core.allowance import AllowanceSettings
from headgate.core.breaker_settings import BreakerSettings
from headgate.errors import ConfigError
from headgate.layers.settings import BreakerConfig, RetryConfig
from headgate.resilience_settings import (
    allowance_settings,
    breaker_settings,
    first_token_limits,
    lease_s,
)
from headgate.types import Target


def test_the_defaults_are_those_of_the_cores() -> None:
    assert breaker_settings(BreakerConfig(), lease_s=605) == BreakerSettings()
    assert allowance_settings(RetryConfig()) == AllowanceSettings()


def test_every_number_reaches_its_place() -> None:
    config = BreakerConfig(
        failure_threshold=4, recovery_timeout=7, success_threshold=6, probes_at_once=2,
        open_max=99, window=11, calls_min=12, fault_ratio=0.3, slow_ratio=0.4,
        slow_first_token=13, slow_total=14, unreachable_in_row=15,
    )  # fmt: skip
    assert breaker_settings(config, lease_s=16) == BreakerSettings(
        faults_in_row=4, open_base_s=7, probes_needed=6, probes_at_once=2,
        open_max_s=99, window_s=11, calls_min=12, fault_ratio=0.3, slow_ratio=0.4,
        slow_first_token_s=13, slow_total_s=14, local_faults_in_row=15, probe_lease_s=16,
    )  # fmt: skip
    retry = RetryConfig(attempts=5, budget=0.2, budget_floor=3, retry_after_max=9)
    assert allowance_settings(retry) == AllowanceSettings(
        attempts_max=5, budget_share=0.2, budget_floor=3, retry_after_max_s=9
    )


def test_no_threshold_is_no_rule() -> None:
    assert breaker_settings(BreakerConfig(failure_threshold=0), lease_s=1).faults_in_row is None


SECONDS = st.floats(1e-6, 1e6, allow_nan=False, exclude_min=True)


@given(SECONDS, SECONDS)
def test_times_that_contradict_each_other_give_way_to_the_recovery_time(
    recovery_s: float, open_max_s: float
) -> None:
    config = BreakerConfig(recovery_timeout=recovery_s, open_max=open_max_s)
    settings = breaker_settings(config, lease_s=1)
    assert settings.open_min_s <= settings.open_base_s == recovery_s <= settings.open_max_s


@pytest.mark.parametrize("wrong", [0, -1, math.nan])
def test_a_number_out_of_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError):
        breaker_settings(BreakerConfig(window=wrong), lease_s=1)
    with pytest.raises(ConfigError):
        allowance_settings(RetryConfig(retry_after_max=wrong))


def test_a_probe_is_lost_a_little_after_the_longest_attempt_must_have_ended() -> None:
    assert lease_s(Config()) == 605
    providers = {"a": ProviderConfig(total_timeout=30), "b": ProviderConfig(total_timeout=90)}
    assert lease_s(Config(providers=providers)) == 95
    models = {"m": ModelConfig(total_timeout=1000), "n": ModelConfig()}
    assert lease_s(Config(providers=providers, models=models)) == 1005


def test_the_first_token_has_the_time_of_its_model_or_of_its_provider() -> None:
    limit_s = first_token_limits(
        Config(
            providers={"a": ProviderConfig(first_token_timeout=20)},
            models={
                "quick": ModelConfig(first_token_timeout=5, reasoning=True),
                "thinks": ModelConfig(reasoning=True),
                "usual": ModelConfig(),
            },
        )
    )

    def of(model: str, provider: str = "a") -> float:
        return limit_s(replace(a_call(), model=model, target=Target(provider, "x")))

    assert [of(model) for model in ("quick", "thinks", "usual", "unlisted")] == [5, 300, 20, 20]
    assert of("quick", "https://an.sdk.brings") == 0
