"""Settings that need one another, and settings without effect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headgate.config import Config, ServerConfig
from headgate.config_file_rules import broken, warnings
from headgate.config_file_text import Expanded, Tree
from headgate.layers.settings import BatchConfig, CacheConfig
from headgate.providers.settings import ProviderConfig

FAKE = {"kind": "fake"}


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"cache": {"store": "", "semantic": {"enabled": False}}},
        {"providers": {"openai": {"base_url": "https://api.openai.com/v1"}}},
        {"providers": {"x": {"base_url": "http://[::1]:8000"}}},
        {"providers": {"x": {"kind": "fake", "base_url": "anything"}}},
        {"providers": {"a": FAKE}, "models": {"m": {"targets": ["a/b", "a/b/c"]}}},
    ],
)
def test_what_fits_together_is_accepted(tree: Tree) -> None:
    assert list(broken(tree)) == []


def test_a_server_listens_somewhere() -> None:
    ((path, message),) = broken({"server": {"host": ""}})
    assert path == ("server", "host")
    assert "127.0.0.1" in message


@pytest.mark.parametrize(
    ("said", "path", "wanted"),
    [
        ({"b": {}}, ("batch_api", "b"), "there is no provider 'b'"),
        ({"a": {"as_of": "soon"}}, ("batch_api", "a", "as_of"), "a day such as 2026-11-12"),
    ],
)
def test_a_batch_api_belongs_to_a_provider_and_was_looked_at_on_a_day(
    said: Tree, path: tuple[str, ...], wanted: str
) -> None:
    assert list(broken({"providers": {"a": FAKE}, "batch_api": {"a": {"as_of": ""}}})) == []
    ((found, message),) = broken({"providers": {"a": FAKE}, "batch_api": said})
    assert found == path
    assert wanted in message


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({"concurrency_start": 1001}, "must be at most limits.concurrency_max (1000), got 1001"),
        ({"concurrency_start": 6, "concurrency_max": 5}, "limits.concurrency_max (5), got 6"),
        ({"concurrency_start": Expanded("6"), "concurrency_max": 5}, "(5), got 6"),
    ],
)
def test_a_start_above_the_most_is_refused(limits: Tree, wanted: str) -> None:
    ((path, message),) = broken({"limits": limits})
    assert path == ("limits", "concurrency_start")
    assert wanted in message


@pytest.mark.parametrize(
    "limits",
    [{}, {"concurrency_max": 5}, {"concurrency_start": 5, "concurrency_max": 5},
     {"concurrency_start": "many", "concurrency_max": 5}],
)  # fmt: skip
def test_a_start_up_to_the_most_is_none_of_the_rules(limits: Tree) -> None:
    assert list(broken({"limits": limits})) == []


@pytest.mark.parametrize(
    ("tree", "path", "wanted"),
    [
        ({"breaker": {"open_max": "1s"}}, ("breaker", "open_max"),
         "must be at least breaker.recovery_timeout (5 s), got 1 s"),
        ({"breaker": {"open_max": "1m", "recovery_timeout": Expanded("2m")}},
         ("breaker", "open_max"), "(120 s), got 60 s"),
        ({"retry": {"backoff": 10, "backoff_max": 1}}, ("retry", "backoff_max"),
         "must be at least retry.backoff (10 s), got 1 s"),
    ],
)  # fmt: skip
def test_a_longest_that_is_shorter_than_its_first_is_refused(
    tree: Tree, path: Any, wanted: str
) -> None:
    ((found, message),) = broken(tree)
    assert found == path
    assert wanted in message


@pytest.mark.parametrize(
    "tree",
    [{"breaker": {"recovery_timeout": "1h"}}, {"breaker": {"open_max": "5s"}},
     {"retry": {"backoff": "1m"}}, {"retry": {"backoff_max": "soon"}}],
)  # fmt: skip
def test_a_first_that_is_longer_than_the_usual_longest_is_none_of_the_rules(tree: Tree) -> None:
    assert list(broken(tree)) == []


@pytest.mark.parametrize(
    "tree", [{"cache": {"semantic": {"enabled": True}}}, {"cache": {"store": "redis://:pw@x"}}]
)
def test_what_this_version_cannot_do_is_refused(tree: Tree) -> None:
    ((path, message),) = broken(tree)
    assert path[0] == "cache"
    assert "not available in this version" in message
    assert "pw" not in message


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("api.openai.com/v1", "not an http or https URL"),
        ("ftp://x", "not an http or https URL"),
        ("http://", "not an http or https URL"),
        ("https:///v1", "not an http or https URL"),
        ("http://x:99999", "not a URL"),
        ("http://[::1", "not a URL"),
        ("https://user:s3cret@x/v1", "credentials"),
        ("https://@x/v1", "credentials"),
        ("https://x/v1?s3cret", "query"),
        ("https://x/v1#s3cret", "fragment"),
        ("https://x/v1 s3cret", "a space"),
        ("https://x/\u2028", "a line break"),
    ],
)
def test_a_base_url_is_checked_and_never_repeated(base_url: str, message: str) -> None:
    ((path, found),) = broken({"providers": {"p": {"base_url": base_url}}})
    assert path == ("providers", "p", "base_url")
    assert message in found
    assert "s3cret" not in found


@pytest.mark.parametrize("name", ["a/b", "/", ""])
def test_a_providers_name_can_stand_before_a_slash(name: str) -> None:
    ((path, message),) = broken({"providers": {name: FAKE}})
    assert path == ("providers", name)
    assert "slash" in message


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("b/x", 'no provider for "b/x"; configured: a'),
        ("x", 'expected PROVIDER/MODEL, got "x"'),
        ("a/", "expected PROVIDER/MODEL"),
        ("/x", "expected PROVIDER/MODEL"),
        ("", "expected PROVIDER/MODEL"),
        (Expanded("s3cret"), "got something else from the environment"),
    ],
)
def test_a_target_names_a_configured_provider(target: str, message: str) -> None:
    tree = {"providers": {"a": FAKE}, "models": {"m": {"targets": ["a/x", target]}}}
    ((path, found),) = broken(tree)
    assert path == ("models", "m", "targets")
    assert message in found
    assert "s3cret" not in found


@pytest.mark.parametrize("model", [{}, {"targets": []}, {"fallbacks": []}])
def test_a_listed_model_names_a_target(model: Tree) -> None:
    ((path, message),) = broken({"models": {"m": model}})
    assert path == ("models", "m", "targets")
    assert "PROVIDER/MODEL" in message


@pytest.mark.parametrize(
    ("price", "missing"),
    [
        ({}, ["input", "output"]),
        ({"input": 1, "batch": 0.5}, ["output"]),
        ({"output": "1"}, ["input"]),
    ],
)
def test_a_price_says_what_input_and_output_cost(price: Tree, missing: list[str]) -> None:
    found = list(broken({"prices": {"openai/gpt-4o": price}}))
    assert [path for path, _ in found] == [("prices", "openai/gpt-4o")] * len(missing)
    assert [message.split()[0] for _, message in found] == missing


@pytest.mark.parametrize("price", [{"input": 0, "output": 0}, {"input": "x", "output": None}, 3])
def test_a_price_with_both_is_none_of_the_rules(price: Any) -> None:
    assert list(broken({"prices": {"m": price}})) == []


@pytest.mark.parametrize(
    "tree",
    [
        {"providers": 1, "models": 2, "cache": 3},
        {"providers": {"a": 1}, "models": {"m": 1}, "cache": {"semantic": 1}},
        {"providers": {"a": {"base_url": 1}}, "models": {"m": {"targets": 1}}},
        {"models": {"m": {"targets": [1]}}},
    ],
)
def test_values_of_a_wrong_type_are_left_to_the_model(tree: Tree) -> None:
    assert list(broken(tree)) == []


def test_a_default_configuration_has_nothing_to_warn_of() -> None:
    assert warnings(Config()) == []
    assert warnings(replace(Config(), providers={"openai": ProviderConfig()})) == []


PROVIDER_URL = "http://127.0.0.1:4000/v1"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"batch": BatchConfig(delay_max=0.051)}, "batch.delay_max"),
        ({"server": ServerConfig(workers=2)}, "server.workers"),
        ({"providers": {"p": ProviderConfig(base_url=PROVIDER_URL)}}, "providers.p.base_url"),
        ({"providers": {"p": ProviderConfig(latency=1.0)}}, "providers.p.latency"),
        (
            {"providers": {"p": ProviderConfig("anthropic", "https://a.example/v1/")}},
            "providers.p.base_url",
        ),
    ],
)
def test_what_does_less_than_it_says_gets_a_line(changes: dict[str, Any], key: str) -> None:
    (line,) = warnings(replace(Config(), **changes))
    assert line.startswith(f"{key}: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"server": ServerConfig(workers=2), "cache": CacheConfig(persist=True)},
        {"server": ServerConfig(workers=2), "cache": CacheConfig(enabled=False)},
        {"providers": {"p": ProviderConfig(base_url="http://127.0.0.1:8000/v1")}},
        {"providers": {"p": ProviderConfig(base_url="https://gate.example:4000/v1")}},
        {"providers": {"p": ProviderConfig("fake", latency=1.0)}},
        {"providers": {"p": ProviderConfig("anthropic", "https://a.example")}},
    ],
)
def test_what_works_as_it_says_gets_none(changes: dict[str, Any]) -> None:
    assert warnings(replace(Config(), **changes)) == []
