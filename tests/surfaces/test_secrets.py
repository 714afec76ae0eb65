"""Every secret of a configuration is found, wherever it stands."""

from __future__ import annotations

from headgate.config import Config, ProviderConfig, ServerConfig
from headgate.layers.settings import CacheConfig
from headgate.surfaces.secrets import secrets_of
from headgate.types import Secret


def test_keys_tokens_and_passwords_in_addresses_are_secrets() -> None:
    config = Config(
        server=ServerConfig(admin_token=Secret("token-1")),
        cache=CacheConfig(persist_path="redis://user:pass-2@host:6379/0"),
        providers={
            "a": ProviderConfig(api_key=Secret("key-3")),
            "b": ProviderConfig(api_keys=(Secret("key-4"), Secret("key-5"))),
            "c": ProviderConfig(base_url="https://user:pass-6@proxy.example/v1"),
            "d": ProviderConfig(base_url="http://[broken@"),
        },
    )
    found = {secret for secret in secrets_of(config) if secret}
    assert found == {"token-1", "pass-2", "key-3", "key-4", "key-5", "pass-6"}


def test_a_configuration_without_secrets_has_none() -> None:
    assert [secret for secret in secrets_of(Config()) if secret] == []
