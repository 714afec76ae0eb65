"""The settings dictionaries of an N3 app."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from headgate.config import Config
from headgate.config_file_seed import from_runtime_settings, with_runtime_settings
from headgate.errors import ConfigError
from headgate.layers.settings import BatchConfig, BreakerConfig, CacheConfig, ModelCacheConfig

RUNTIME_SETTINGS = {
    "llm_cache": {
        "enabled": True,
        "maxsize": 500,
        "ttl": 1800,
        "persist": True,
        "persist_path": "llm_cache.db",
    },
    "llm_batch": {"enabled": True, "max_batch_size": 10, "batch_timeout_ms": 100},
    "circuit_breaker": {
        "enabled": True,
        "failure_threshold": 4,
        "recovery_timeout": 30,
        "success_threshold": 3,
    },
}
MODEL_CACHE_CONFIG = {"gpt-4": {"ttl": 7200}, "gpt-3.5-turbo": {"ttl": 3600, "enabled": False}}


def test_every_setting_of_the_dictionaries_has_its_place() -> None:
    expected = Config(
        cache=CacheConfig(
            maxsize=500,
            ttl=1800.0,
            persist=True,
            persist_path="llm_cache.db",
            models={
                "gpt-4": ModelCacheConfig(ttl=7200.0),
                "gpt-3.5-turbo": ModelCacheConfig(ttl=3600.0, enabled=False),
            },
        ),
        batch=BatchConfig(enabled=True, items_max=10, delay_max=0.1),
        breaker=BreakerConfig(True, True, 4, 30.0, 3),
    )
    assert from_runtime_settings(RUNTIME_SETTINGS, MODEL_CACHE_CONFIG) == expected
    loaded = Config.from_runtime_settings(RUNTIME_SETTINGS, models=MODEL_CACHE_CONFIG)
    assert loaded == expected


def test_what_is_left_out_keeps_its_default() -> None:
    assert from_runtime_settings({}) == Config()
    assert from_runtime_settings({"llm_cache": {}}, {}) == Config()
    assert Config.from_runtime_settings({"llm_batch": {}}) == Config()


def test_mappings_of_any_class_are_taken() -> None:
    settings = MappingProxyType({"llm_cache": MappingProxyType({"ttl": 5})})
    models = MappingProxyType({"m": MappingProxyType({"ttl": 6.5})})
    cache = from_runtime_settings(settings, models).cache
    assert (cache.ttl, cache.models) == (5.0, {"m": ModelCacheConfig(ttl=6.5)})


def problems(settings: Mapping[str, Any], models: Any = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        from_runtime_settings(settings, models)
    return {problem.key: problem.message for problem in caught.value.problems}


def test_every_problem_is_reported_with_the_names_of_the_dictionaries() -> None:
    found = problems(
        {
            "llm_cach": {},
            "llm_cache": {"max_size": 1, "ttl": -1, "enabled": 1, "policy": "lru"},
            "llm_batch": {"batch_timeout_ms": "100", "max_batch_size": 0},
            "circuit_breaker": 3,
        },
        {"gpt-4.1": {"ttl": 0, "tll": 1}, "x": 5},
    )
    assert sorted(found) == [
        "circuit_breaker", "llm_batch.batch_timeout_ms", "llm_batch.max_batch_size", "llm_cach",
        "llm_cache.enabled", "llm_cache.max_size", "llm_cache.policy", "llm_cache.ttl",
        'models."gpt-4.1".tll', 'models."gpt-4.1".ttl', "models.x",
    ]  # fmt: skip
    assert found["llm_cach"] == "unknown key; did you mean 'llm_cache'?"
    assert found["llm_cache.max_size"] == "unknown key; did you mean 'maxsize'?"
    assert found["llm_cache.policy"].startswith("unknown key; known here: enabled, maxsize, ttl")
    assert found['models."gpt-4.1".tll'] == "unknown key; did you mean 'ttl'?"
    assert found["circuit_breaker"] == "expected a dictionary, got 3"


@pytest.mark.parametrize("milliseconds", [-1, True, "5", None, float("nan")])
def test_a_batch_timeout_is_a_number_of_milliseconds(milliseconds: Any) -> None:
    found = problems({"llm_batch": {"batch_timeout_ms": milliseconds}})
    assert list(found) == ["llm_batch.batch_timeout_ms"]


@pytest.mark.parametrize("settings", [[], None, "llm_cache", 3])
def test_settings_must_be_a_dictionary(settings: Any) -> None:
    with pytest.raises(ConfigError, match="expected a dictionary of settings, got"):
        from_runtime_settings(settings)


def test_names_that_are_no_strings_are_unknown_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        from_runtime_settings({1: {}, "llm_cache": {2: 3}})  # type: ignore[dict-item]
    assert [problem.key for problem in caught.value.problems] == ["1", "llm_cache.2"]


def test_models_must_be_a_dictionary() -> None:
    assert list(problems({}, [1])) == ["models"]


def test_the_dictionaries_change_only_what_they_name() -> None:
    config = Config(cache=CacheConfig(maxsize=7, models={"a": ModelCacheConfig(ttl=1.0)}))
    changed = with_runtime_settings(config, {"llm_cache": {"ttl": 5}}, {"b": {"ttl": 2}})
    assert changed == Config(
        cache=CacheConfig(
            maxsize=7,
            ttl=5.0,
            models={"a": ModelCacheConfig(ttl=1.0), "b": ModelCacheConfig(ttl=2.0)},
        )
    )
    assert with_runtime_settings(config, {}) == config
