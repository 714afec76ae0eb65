"""The configuration of a backend: a file, and the dictionaries of its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.backend import opened
from headgate.errors import ConfigError

FILE = """
[cache]
maxsize = 7
ttl = "5s"
[cache.models.a]
ttl = "6s"
[breaker]
failure_threshold = 9
[providers.fake]
kind = "fake"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "headgate.toml"
    path.write_text(FILE)
    return path


def test_the_dictionaries_win_key_by_key(file: Path) -> None:
    runtime = opened(
        file,
        {"llm_cache": {"ttl": 50}, "circuit_breaker": {"recovery_timeout": 3}},
        {"b": {"ttl": 60}},
    ).runtime
    cache, breaker = runtime.config.cache, runtime.config.breaker
    assert (cache.maxsize, cache.ttl) == (7, 50)
    assert {name: one.ttl for name, one in cache.models.items()} == {"a": 6, "b": 60}
    assert (breaker.failure_threshold, breaker.recovery_timeout) == (9, 3)
    runtime.close()


def test_empty_dictionaries_change_nothing(file: Path) -> None:
    runtime = opened(file, {}).runtime
    assert (runtime.config.cache.ttl, runtime.config.breaker.callables) == (5, False)
    runtime.close()


def test_what_is_wrong_is_told(file: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key; did you mean 'maxsize'"):
        opened(file, {"llm_cache": {"maxsiz": 1}})
