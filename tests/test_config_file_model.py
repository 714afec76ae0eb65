"""The model made from the dataclasses: every problem at once, the nearest name of unknown keys."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from headgate.config import Config, ServerConfig
from headgate.config_file_model import MODEL, hints_of, leaves, settings
from headgate.config_file_text import Path, Tree
from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.providers.settings import ModelConfig, ProviderConfig
from headgate.types import Secret


def problems(tree: Tree) -> dict[Path, str]:
    config, found = settings(tree)
    assert (config is None) == bool(found)
    return dict(found)


def test_an_empty_tree_is_the_default_configuration() -> None:
    assert settings({}) == (Config(), [])


def test_what_a_tree_says_becomes_the_blocks_and_the_rest_keeps_its_default() -> None:
    config, found = settings(
        {
            "server": {"port": 1},
            "cache": {"ttl": "5m", "models": {"gpt-4": {"ttl": 60}}, "ignore_fields": ["user"]},
            "providers": {"openai": {}, "local": {"kind": "fake", "latency": "1s"}},
            "models": {"gpt-4o": {"targets": ["openai/x"]}},
        }
    )
    assert found == []
    assert config == Config(
        server=ServerConfig(port=1),
        cache=CacheConfig(
            ttl=300.0, models={"gpt-4": ModelCacheConfig(ttl=60.0)}, ignore_fields=("user",)
        ),
        providers={
            "openai": ProviderConfig(),
            "local": ProviderConfig(kind="fake", latency=1.0),
        },
        models={"gpt-4o": ModelConfig(targets=("openai/x",))},
    )


def test_every_problem_is_found_in_one_reading() -> None:
    found = problems(
        {
            "server": {"port": 70_000, "hots": "x"},
            "cache": {"ttl": "5x", "models": {"a": {"ttl": "0s"}}, "persist": 1},
            "providers": {"p": {"kind": "azure", "api_key": 1}},
            "models": {"m": {"targets": "p/m"}},
            "retry": {"times": 3},
        }
    )
    assert sorted(found) == [
        ("cache", "models", "a", "ttl"), ("cache", "persist"), ("cache", "ttl"),
        ("models", "m", "targets"), ("providers", "p", "api_key"), ("providers", "p", "kind"),
        ("retry", "times"), ("server", "hots"), ("server", "port"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"servers": {}}, "unknown key; did you mean 'server'?"),
        ({"cache": {"max_size": 1}}, "unknown key; did you mean 'maxsize'?"),
        ({"cache": {"TTL": 1}}, "unknown key; did you mean 'ttl'?"),
        ({"providers": {"p": {"apikey": "x"}}}, "unknown key; did you mean 'api_key'?"),
        ({"ttl": 1}, "unknown key here; it belongs to [cache]"),
        ({"cache": {"api_key": "x"}}, "unknown key here; it belongs to [providers.NAME]"),
        ({"metrics": {"zzz": 1}}, "unknown key; known here: naming, otel"),
        ({"limits": {"queue": 1}}, "unknown key; did you mean 'queue_max'?"),
        (
            {"cache": {"models": {"gpt-4": {"1": {"ttl": 1}}}}},
            'unknown key; a name with a dot needs quotes: [cache.models."gpt-4.1"]',
        ),
        (
            {"models": {"gpt-4": {"1": {}}}},
            'unknown key; a name with a dot needs quotes: [models."gpt-4.1"]',
        ),
        ({"cache": {"models": {"x": {"semantic": True}}}}, "not available in this version"),
    ],
)
def test_an_unknown_key_is_told_what_was_probably_meant(tree: Tree, message: str) -> None:
    assert list(problems(tree).values()) == [message]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("cache", "policy", "gdsf")],
)
def test_a_value_of_a_later_version_is_refused_as_such(section: str, key: str, value: str) -> None:
    assert problems({section: {key: value}}) == {
        (section, key): f'"{value}" is not available in this version'
    }


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({"cache": 1}, ("cache",)),
        ({"cache": {"models": 1}}, ("cache", "models")),
        ({"providers": {"p": "x"}}, ("providers", "p")),
        ({"models": []}, ("models",)),
    ],
)
def test_where_a_table_is_wanted_nothing_else_will_do(tree: Tree, path: Path) -> None:
    found = problems(tree)
    assert list(found) == [path]
    assert found[path].startswith("expected a table, got ")


def test_no_problem_repeats_a_secret() -> None:
    found = problems(
        {
            "server": {"admin_token": ["s3cret"], "admin_tokn": "s3cret"},
            "providers": {"p": {"api_key": "s3cret s3cret", "key": "s3cret"}},
        }
    )
    assert len(found) == 4
    assert "s3cret" not in str(found)


def values(block: Any) -> int:
    """How many settings a configuration has, counted without the model's help."""
    if is_dataclass(block):
        return sum(values(getattr(block, field.name)) for field in fields(block))
    return sum(map(values, block.values())) if isinstance(block, dict) else 1


def test_the_leaves_are_all_settings_of_a_configuration() -> None:
    config = Config(
        cache=CacheConfig(models={"m": ModelCacheConfig()}),
        providers={"p": ProviderConfig(api_key=Secret("x"))},
        models={"n": ModelConfig()},
    )
    found = {leaf.path: leaf.value for leaf in leaves(config)}
    assert len(found) == values(config)
    assert found["cache", "models", "m", "ttl"] is None
    assert found["providers", "p", "api_key"] is config.providers["p"].api_key
    assert found["server", "port"] == 4000


def test_the_model_has_the_fields_of_the_dataclasses() -> None:
    assert list(MODEL.model_fields) == list(hints_of(Config)) == [f.name for f in fields(Config)]
