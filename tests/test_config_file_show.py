"""The settings for people and editors: the schema, the commented file, effective values."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from headgate.config import Config, KeysConfig, ServerConfig
from headgate.config_file import load, load_or_default
from headgate.config_file_show import (
    blocks,
    commented_file,
    documented,
    effective,
    reference,
    schema,
)
from headgate.errors import ConfigError
from headgate.jobs.limits_settings import BatchApiConfig
from headgate.layers.settings import CacheConfig, LimitsConfig
from headgate.providers.settings import DEFAULT_BASE_URLS, ModelConfig, PriceConfig, ProviderConfig

SETTING = re.compile(r"^#(?=[\w\[])", re.M)


def test_every_field_of_every_block_has_a_line() -> None:
    found = dict(blocks())
    assert len(found) == 17
    for path, block in found.items():
        lines = documented(block)
        assert lines[""].startswith("`["), path
        for field in fields(block):
            is_table = (*path, field.name) in {other[: len(path) + 1] for other in found}
            assert lines.get(field.name) or is_table, (path, field.name)


def test_the_lines_are_those_below_the_fields() -> None:
    lines = documented(ServerConfig)
    assert lines["port"] == "Port to listen on; 0 takes a free one."
    assert list(lines) == ["", *(field.name for field in fields(ServerConfig))]


# The commented file.


def test_the_file_as_written_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(commented_file(), "utf-8")
    assert load(file, {}) == Config()


def test_every_default_in_the_file_is_that_of_the_code(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(SETTING.sub("", commented_file()), "utf-8")
    config = load(file, {})
    assert replace(config.server, admin_token=ServerConfig.admin_token) == ServerConfig()
    assert replace(config.cache, models={}) == CacheConfig()
    assert without_examples(config.limits) == LimitsConfig()
    assert replace(config.keys, pepper=KeysConfig.pepper) == KeysConfig()
    assert replace(
        config, server=ServerConfig(), cache=CacheConfig(), limits=LimitsConfig(),
        keys=KeysConfig(), providers={}, models={}, prices={}, batch_api={},
    ) == Config()  # fmt: skip
    openai = config.providers["openai"]
    assert openai.base_url == DEFAULT_BASE_URLS["openai"]
    openai = replace(openai, base_url="", api_key=ProviderConfig.api_key)
    assert without_examples(openai) == ProviderConfig()
    assert replace(config.models["gpt-4o"], targets=()) == ModelConfig()
    assert without_examples(config.prices["openai/gpt-4o"]) == PriceConfig()
    assert without_examples(config.batch_api["openai"]) == BatchApiConfig()


def without_examples(block: Any) -> Any:
    """The block with None again where that is the default: the file shows an example there."""
    absent = {field.name: None for field in fields(block) if field.default is None}
    return replace(block, **absent)


def test_the_file_shows_every_setting_once() -> None:
    tree = tomllib.loads(SETTING.sub("", commented_file()))
    shown = {(path, key) for path, table in tables(tree) for key in table}
    wanted = {(setting.section, setting.name) for setting in reference()}
    names = {'cache.models."NAME"': "cache.models.gpt-4", 'models."NAME"': "models.gpt-4o",
             'providers."NAME"': "providers.openai",
             'prices."NAME"': "prices.openai/gpt-4o",
             'batch_api."NAME"': "batch_api.openai"}  # fmt: skip
    assert shown == {(names.get(section, section), name) for section, name in wanted}


def tables(tree: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every table with the values that stand in it."""
    values = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    found = [(path, values)]
    for key, value in tree.items():
        if isinstance(value, dict):
            found += tables(value, f"{path}.{key}".lstrip("."))
    return found


def settings_in(lines: list[str]) -> list[tuple[int, bool]]:
    """Where settings stand, and whether the header above each is commented out."""
    found, is_off = [], False
    for number, line in enumerate(lines):
        if re.match(r"#?\[", line):
            is_off = line.startswith("#")
        elif SETTING.match(line):
            found.append((number, is_off))
    return found


def test_a_line_turned_on_alone_changes_nothing_or_is_refused(tmp_path: Path) -> None:
    """Refused below a header that is still commented out: it must not become another setting."""
    lines = commented_file().splitlines()
    file = tmp_path / "headgate.toml"
    assert len(settings_in(lines)) == len(reference())
    for number, is_off in settings_in(lines):
        on = [*lines[:number], lines[number][1:], *lines[number + 1 :]]
        file.write_text("\n".join(on), "utf-8")
        if is_off:
            with pytest.raises(ConfigError):
                load(file, {})
        else:
            config = load(file, {})
            server = replace(config.server, admin_token=ServerConfig.admin_token)
            keys = replace(config.keys, pepper=KeysConfig.pepper)
            limits = without_examples(config.limits)
            config = replace(config, server=server, limits=limits, keys=keys)
            assert config == Config(), lines[number]


def test_the_file_leads_editors_to_its_schema() -> None:
    first, *others = commented_file().splitlines()
    assert first == "#:schema headgate.schema.json"
    assert any("headgate config schema > headgate.schema.json" in line for line in others)
    assert max(map(len, others)) <= 110


# The schema.


def definition(name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema()["$defs"][name]
    return found


def test_the_schema_names_every_section_and_allows_no_other() -> None:
    made = schema()
    assert json.loads(json.dumps(made)) == made
    assert list(made["properties"]) == [field.name for field in fields(Config)]
    assert made["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in made["$defs"].values())


def test_the_schema_describes_every_setting_with_its_default() -> None:
    for name, block in {block.__name__: block for _, block in blocks()}.items():
        found = definition(name)
        assert found["description"] == documented(block)[""]
        for key, entry in found.get("properties", {}).items():
            assert "description" in entry or "$ref" in str(entry), (name, key)
    assert definition("CacheConfig")["properties"]["ttl"] == {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}],
        "default": "1h",
        "description": "Time to live of an entry; per-model values win, callers may ask for less.",
        "title": "Ttl",
    }


def test_the_schema_holds_no_secret() -> None:
    assert "***" not in json.dumps(schema())
    assert definition("ServerConfig")["properties"]["admin_token"]["default"] == ""


# Effective values.


def test_every_effective_value_is_shown_with_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text('[cache]\nttl = "90m"\n[cache.models.m]\nenabled = false\n')
    rows = effective(load_or_default(file, {"OPENAI_API_KEY": "s3cret"}))
    found = {key: (value, origin) for key, value, origin in rows}
    assert len(found) == len(rows)
    assert found["cache.ttl"] == ('"90m"', f"{file}:2")
    assert found["cache.models.m.enabled"] == ("false", f"{file}:4")
    assert found["cache.models.m.ttl"] == ("", "default")
    assert found["providers.openai.api_key"] == ('"***"', "environment OPENAI_API_KEY")
    assert found["server.admin_token"] == ('""', "default")
    assert "s3cret" not in str(rows)


def test_every_effective_value_that_is_there_is_json() -> None:
    values = [value for _, value, _ in effective(load_or_default(None, {}))]
    assert [json.loads(value) for value in values if value]
