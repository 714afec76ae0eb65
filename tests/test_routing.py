"""Where a model name leads, in which order, with which key."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.core.balance import ordered
from headgate.errors import UnknownModel
from headgate.routing import Routes, read_target
from headgate.types import CONTENT, CONTEXT, FALLBACK, TARGET, Route, Secret, Target

KEY = Secret("sk-x")
KEYED = ProviderConfig(api_key=KEY)


def routes_of(
    models: dict[str, ModelConfig], name: str = "m", operation: str = "chat", **providers: Any
) -> tuple[Route, ...]:
    providers = providers or {"a": KEYED, "b": KEYED, "c": ProviderConfig("anthropic", api_key=KEY)}
    return Routes(Config(providers=providers, models=models)).resolve(name, operation)[1]


def names(routes: tuple[Route, ...]) -> list[str]:
    return [route.target.name for route in routes]


# Spelling.


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a/m", ("a", "m", 0.0)),
        ("a/org/m", ("a", "org/m", 0.0)),
        ("a/m=3", ("a", "m", 3.0)),
        ("a/m=0.25", ("a", "m", 0.25)),
        ("a/m=.5", ("a", "m", 0.5)),
        ("a/m=x", ("a", "m=x", 0.0)),
        ("a/m=", ("a", "m=", 0.0)),
        ("a/m=.", ("a", "m=.", 0.0)),
        ("a/m=1=2", ("a", "m=1", 2.0)),
        ("a/m=²", ("a", "m=²", 0.0)),
        ("a/m=٣", ("a", "m=٣", 0.0)),
        *((text, None) for text in ("", "m", "/m", "a/", "a/=3", "a/m=0", "a/m=0.0")),
        ("a/m=" + "9" * 400, None),
    ],
)
def test_a_target_is_a_provider_a_model_and_perhaps_a_weight(text: str, written: Any) -> None:
    assert read_target(text) == written


@given(st.text(max_size=12))
def test_any_text_is_read(text: str) -> None:
    written = read_target(text)
    assert written is None or (written[0] and written[1] and 0 <= written[2] < float("inf"))


# Targets and stand-ins.


def test_targets_come_in_their_order_then_what_stands_in_for_them() -> None:
    model = ModelConfig(
        targets=("b/x", "a/y"),
        fallbacks=("spare",),
        context_fallbacks=("a/long",),
        content_fallbacks=("b/free",),
    )
    routes = routes_of({"m": model, "spare": ModelConfig(targets=("a/s", "b/s"))})
    assert [(route.target.name, route.role) for route in routes] == [
        ("b/x", TARGET), ("a/y", TARGET), ("a/s", FALLBACK), ("b/s", FALLBACK),
        ("a/long", CONTEXT), ("b/free", CONTENT),
    ]  # fmt: skip


def test_each_route_names_the_model_whose_settings_it_has() -> None:
    listed = {
        "m": ModelConfig(targets=("a/x", "b/x"), fallbacks=("spare", "a/free"),
                         context_fallbacks=("long",)),
        "spare": ModelConfig(targets=("a/s",)),
        "long": ModelConfig(targets=("b/l",)),
        "a/y": ModelConfig(reasoning=True),
    }  # fmt: skip
    routes = routes_of(listed)
    assert [route.model for route in routes] == ["", "", "spare", "a/free", "long"]
    assert [route.model for route in routes_of(listed, "a/y")] == ["a/y"], "its model is called y"
    assert [route.model for route in routes_of(listed, "a/z")] == [""]


def test_stand_ins_of_stand_ins_are_not_followed() -> None:
    models = {
        "m": ModelConfig(targets=("a/m",), fallbacks=("n",)),
        "n": ModelConfig(targets=("a/n",), fallbacks=("o",)),
        "o": ModelConfig(targets=("a/o",)),
    }
    assert names(routes_of(models)) == ["a/m", "a/n"]


def test_only_those_that_speak_the_operation_are_asked() -> None:
    model = ModelConfig(targets=("a/m", "c/claude"), fallbacks=("c/other", "b/n"))
    assert names(routes_of({"m": model})) == ["a/m", "b/n"]
    assert names(routes_of({"m": model}, operation="messages")) == ["c/claude", "c/other"]
    with pytest.raises(UnknownModel, match="which does not answer embeddings"):
        routes_of({"m": ModelConfig(targets=("c/claude",))}, operation="embeddings")


def test_a_listed_model_without_targets_goes_where_an_unlisted_one_would() -> None:
    models = {"a/m": ModelConfig(reasoning=True, fallbacks=("b/n",))}
    assert names(routes_of(models, "a/m")) == ["a/m", "b/n"]
    assert names(routes_of({}, "b/any/thing")) == ["b/any/thing"]
    with pytest.raises(UnknownModel, match="name the provider: a/MODEL, b/MODEL"):
        routes_of({}, "thing")


def test_a_prefix_that_is_no_provider_is_part_of_the_name() -> None:
    model, routes = Routes(Config(providers={"a": KEYED})).resolve("org/m", "chat")
    assert (model, names(routes)) == ("org/m", ["a/org/m"])


# Keys and weights.


def test_each_key_of_a_provider_is_a_route_of_its_own() -> None:
    provider = ProviderConfig(api_keys=(KEY, KEY))
    routes = routes_of({"m": ModelConfig(targets=("a/m", "b/m"))}, a=provider, b=KEYED)
    assert [(route.target.name, route.target.credential) for route in routes] == [
        ("a/m", "key-1"), ("a/m", "key-2"), ("b/m", ""),
    ]  # fmt: skip
    assert "sk-x" not in repr(routes)


def test_a_target_with_two_keys_has_the_share_its_weight_says() -> None:
    provider = ProviderConfig(api_keys=(KEY, KEY, KEY))
    model = ModelConfig(targets=("a/m=3", "b/m=1"))
    routes = routes_of({"m": model}, a=provider, b=KEYED)
    firsts = Counter(ordered(routes, 5, number)[0].target.provider for number in range(10_000))
    assert abs(firsts["a"] / 10_000 - 0.75) < 0.02


# Whose credential goes where.


def test_what_a_client_sends_goes_to_one_provider_only() -> None:
    keyless, other = ProviderConfig(), ProviderConfig(base_url="https://other.example/v1")
    model = ModelConfig(targets=("a/m", "b/m"), fallbacks=("d/m", "a/spare"))
    routes = routes_of({"m": model}, a=keyless, b=KEYED, d=other)
    assert names(routes) == ["a/m", "b/m", "a/spare"]
    routes = routes_of({"a/m": ModelConfig(fallbacks=("d/m",))}, "a/m", a=keyless, d=other)
    assert names(routes) == ["a/m"]


def test_two_names_of_one_place_are_one_provider_to_a_client() -> None:
    usual, spelt = ProviderConfig(), ProviderConfig(base_url="https://api.openai.com/v1")
    model = ModelConfig(targets=("a/m", "b/m"))
    assert names(routes_of({"m": model}, a=usual, b=spelt)) == ["a/m", "b/m"]


def test_providers_with_keys_and_built_in_ones_are_no_clients_business() -> None:
    fake = ProviderConfig(kind="fake")
    model = ModelConfig(targets=("a/m", "b/m", "c/m", "d/m"))
    routes = routes_of({"m": model}, a=fake, b=KEYED, c=fake, d=ProviderConfig())
    assert routes == tuple(Route(Target(name, "m")) for name in "abcd")
