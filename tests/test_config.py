"""The configuration as a value."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from headgate.config import Config, ServerConfig
from headgate.errors import ConfigError
from headgate.types import Secret


def test_a_configuration_without_arguments_is_complete() -> None:
    config = Config()
    assert (config.server.host, config.server.port) == ("127.0.0.1", 4000)
    assert (config.cache.maxsize, config.cache.ttl) == (1000, 3600.0)
    assert (config.providers, config.models) == ({}, {})


def blocks(block: Any) -> list[Any]:
    inner = [getattr(block, field.name) for field in fields(block)]
    return [block, *(found for item in inner if is_dataclass(item) for found in blocks(item))]


@pytest.mark.parametrize("block", blocks(Config()), ids=lambda block: type(block).__name__)
def test_no_block_can_be_changed(block: Any) -> None:
    name = next((field.name for field in fields(block)), "anything")
    with pytest.raises(FrozenInstanceError):
        setattr(block, name, None)


def test_printing_a_configuration_shows_no_secret() -> None:
    assert "t0ken" not in repr(Config(server=ServerConfig(admin_token=Secret("t0ken"))))


def test_load_reads_a_file_by_name_or_path(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('[server]\nport = 1\nhost = "${HOST}"\n')
    for path in (file, str(file)):
        server = Config.load(path, environment={"HOST": "localhost"}).server
        assert (server.port, server.host) == (1, "localhost")
    with pytest.raises(ConfigError):
        Config.load(file, environment={})


def test_the_dictionaries_of_an_n3_app_become_a_configuration() -> None:
    config = Config.from_runtime_settings({"llm_cache": {"ttl": 60}}, {"gpt-4": {"ttl": 120}})
    assert (config.cache.ttl, config.cache.models["gpt-4"].ttl) == (60.0, 120.0)
    with pytest.raises(ConfigError):
        Config.from_runtime_settings({"cache": {}})
