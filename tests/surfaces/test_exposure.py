"""What has to be in place before a port is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from keyring import a_key

from headgate.config import Config, KeysConfig, ModelConfig, ProviderConfig, ServerConfig
from headgate.errors import ConfigError
from headgate.surfaces.exposure import check_exposure, key_notes
from headgate.types import Secret

TOKEN = Secret("s3cret-token")
OTHERS = ["0.0.0.0", "::", "10.0.0.5", "gate.example", ""]


@pytest.fixture
def keys(tmp_path: Path) -> KeysConfig:
    return KeysConfig(str(tmp_path / "keys.db"))


def problems(keys: KeysConfig, **more: Any) -> dict[str, str]:
    try:
        check_exposure(Config(keys=keys, **more))
    except ConfigError as error:
        return {problem.key: problem.message for problem in error.problems}
    return {}


@pytest.mark.parametrize("host", OTHERS)
def test_other_machines_are_let_near_only_with_an_admin_token(host: str, keys: KeysConfig) -> None:
    server = ServerConfig(host=host, insecure_open=True)
    found = problems(keys, server=server)
    assert list(found) == ["server.admin_token"]
    assert "127.0.0.1" in found["server.admin_token"]
    server = ServerConfig(host=host, insecure_open=True, admin_token=TOKEN)
    assert not problems(keys, server=server)


@pytest.mark.parametrize("host", OTHERS)
def test_other_machines_may_call_only_with_keys_or_where_that_is_said(
    host: str, keys: KeysConfig
) -> None:
    server = ServerConfig(host=host, admin_token=TOKEN)
    found = problems(keys, server=server)
    assert list(found) == ["server.host"]
    assert "headgate keys create" in found["server.host"]
    assert "--insecure-open" in found["server.host"]
    a_key(keys)
    assert not problems(keys, server=server)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_neither(host: str, keys: KeysConfig) -> None:
    assert not problems(keys, server=ServerConfig(host=host))


def test_with_keys_every_provider_needs_a_key_of_its_own(keys: KeysConfig) -> None:
    providers = {
        "bare": ProviderConfig(),
        "one": ProviderConfig(api_key=Secret("k")),
        "two": ProviderConfig(api_keys=(Secret("k"), Secret("l"))),
        "fake": ProviderConfig(kind="fake"),
    }
    assert not problems(keys, providers=providers)
    a_key(keys)
    assert list(problems(keys, providers=providers)) == ["providers.bare.api_key"]


def test_a_file_that_is_no_file_of_keys_is_refused(keys: KeysConfig) -> None:
    Path(keys.path).write_text("something else, and long enough to be read as a database" * 99)
    assert list(problems(keys)) == ["keys.path"]


def test_keys_without_their_pepper_are_refused(keys: KeysConfig) -> None:
    a_key(keys)
    Path(f"{keys.path}.pepper").unlink()
    assert list(problems(keys)) == ["keys.pepper"]


def test_the_check_counts_keys_and_names_models_that_do_not_exist(keys: KeysConfig) -> None:
    models = {"gpt-4o": ModelConfig(targets=("p/x",)), "gpt-4o-mini": ModelConfig(("p/y",))}
    config = Config(keys=keys, models=models, providers={"p": ProviderConfig(kind="fake")})
    assert key_notes(config) == []
    made = a_key(keys, models=("gpt-4o", "gpt-*", "p/anything", "gpt-5", "claude-*"))
    a_key(keys, expires_s=1.0, models=("lost",))
    assert key_notes(config) == [
        "client keys: 1 active, 1 ended",
        f"key {made.record.id}: no model 'gpt-5' is configured",
        f"key {made.record.id}: no model 'claude-*' is configured",
    ]
