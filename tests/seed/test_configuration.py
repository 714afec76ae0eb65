"""The settings of the seed document, letter for letter, and what they do."""

from __future__ import annotations

from typing import Any

from headgate import n3
from headgate.config import Config

APP_SETTINGS = """
# In N3 app runtime settings
RUNTIME_SETTINGS = {
    "llm_cache": {
        "enabled": True,
        "maxsize": 1000,  # Max cached responses
        "ttl": 3600,      # 1 hour expiration
    }
}
"""

CACHE_CONFIGURATION = """
# In N3 app or environment
RUNTIME_SETTINGS = {
    "llm_cache": {
        # Enable/disable caching
        "enabled": True,
        
        # Maximum cached responses
        "maxsize": 1000,
        
        # Time-to-live in seconds
        "ttl": 3600,  # 1 hour
        
        # Optional: Persist cache to disk
        "persist": False,
        "persist_path": "/tmp/llm_cache.db"
    }
}
"""  # noqa: W293 - letter for letter

PER_MODEL_CONFIGURATION = """
# Different TTL per model
MODEL_CACHE_CONFIG = {
    "gpt-4": {"ttl": 7200},      # 2 hours (expensive, cache longer)
    "gpt-3.5-turbo": {"ttl": 3600},  # 1 hour (default)
    "claude-3": {"ttl": 1800},   # 30 minutes (fast-changing)
}
"""


def setting(text: str, name: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(text, "the seed document", "exec"), names)
    return names[name]


def test_the_settings_of_an_app_are_taken_as_they_are() -> None:
    cache = Config.from_runtime_settings(setting(APP_SETTINGS, "RUNTIME_SETTINGS")).cache
    assert (cache.enabled, cache.maxsize, cache.ttl, cache.persist) == (True, 1000, 3600.0, False)


def test_every_option_of_the_cache_is_taken_as_it_is() -> None:
    settings = setting(CACHE_CONFIGURATION, "RUNTIME_SETTINGS")
    cache = Config.from_runtime_settings(settings).cache
    assert (cache.enabled, cache.maxsize, cache.ttl) == (True, 1000, 3600.0)
    wanted = settings["llm_cache"]
    assert (cache.persist, cache.persist_path) == (False, wanted["persist_path"])


def test_each_model_has_its_own_time_to_live() -> None:
    models = setting(PER_MODEL_CONFIGURATION, "MODEL_CACHE_CONFIG")
    cache = Config.from_runtime_settings({}, models).cache
    assert {name: own.ttl for name, own in cache.models.items()} == {
        "gpt-4": 7200.0,
        "gpt-3.5-turbo": 3600.0,
        "claude-3": 1800.0,
    }


def test_both_dictionaries_configure_the_names_of_n3() -> None:
    n3.configure(
        setting(CACHE_CONFIGURATION, "RUNTIME_SETTINGS"),
        setting(PER_MODEL_CONFIGURATION, "MODEL_CACHE_CONFIG"),
    )
    numbers = n3._llm_cache.get_stats()
    assert (numbers["maxsize"], numbers["ttl"], numbers["size"]) == (1000, 3600.0, 0)
