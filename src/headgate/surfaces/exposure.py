"""What has to be in place before anybody may call: who may administrate, and who may spend.

Asked before a port is opened, and before a new configuration is taken.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from headgate.clients import keyless_providers, keys_in
from headgate.clock import SystemClock
from headgate.config import Config
from headgate.core.client import KeyRecord, client_of
from headgate.errors import ConfigError, Problem
from headgate.surfaces.guard import is_loopback


def check_exposure(config: Config) -> None:
    """Raises ConfigError where the admin routes, or calls at the operator's cost, would be open to
    other machines; and where clients that have keys could not be served. Reads the file of keys."""
    problems = list(_problems(config, has_keys=bool(keys_in(config.keys))))
    if problems:
        raise ConfigError(problems)


def _problems(config: Config, *, has_keys: bool) -> Iterator[Problem]:
    server = config.server
    is_exposed = not is_loopback(server.host)
    if is_exposed and not server.admin_token:
        wanted = "set server.admin_token (for instance to ${HEADGATE_ADMIN_TOKEN}), or listen on "
        yield Problem("server.admin_token", f"{wanted}127.0.0.1")
    if is_exposed and not has_keys and not server.insecure_open:
        yield Problem(
            "server.host",
            f"{server.host} can be reached by other machines, and there are no client keys: "
            "whoever finds it could call, at your cost. Make a key: headgate keys create --tenant "
            "NAME --model '*' (from then on every call needs one); or say that it is to be open: "
            "headgate serve --insecure-open (server.insecure_open = true)",
        )
    for name in keyless_providers(config) if has_keys else ():
        yield Problem(
            f"providers.{name}.api_key",
            "not set, and clients have keys of this gateway, which are never sent to a provider: "
            "set it (one that asks for no key takes any text)",
        )


def key_notes(config: Config) -> list[str]:
    """Lines for people: how many keys there are, and those that lead nowhere."""
    records = keys_in(config.keys)
    if not records:
        return []
    now_s = SystemClock().epoch()
    active = [record for record in records if record.state(now_s) == "active"]
    notes = [f"client keys: {len(active)} active, {len(records) - len(active)} ended"]
    return [*notes, *(line for record in active for line in _lost_models(config, record))]


def _lost_models(config: Config, record: KeyRecord) -> Iterator[str]:
    """Of a key, the models that no configured name is meant by. What is not listed may still lead
    to a provider: where no model is configured nothing can be said."""
    for name in record.models if config.models else ():
        client = client_of(replace(record, models=(name,)))
        provider, slash, _ = name.partition("/")
        if slash and provider in config.providers:
            continue
        if not any(client.allows(model) for model in config.models):
            yield f"key {record.id}: no model {name!r} is configured"
