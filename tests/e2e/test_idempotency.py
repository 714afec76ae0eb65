"""`Idempotency-Key`: the same for all attempts of a call at one target, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.layers.settings import RetryConfig
from headgate.testing import FakeProvider, Status
from headgate.types import Secret

CHAT = "/v1/chat/completions"
QUICK = RetryConfig(backoff=0.01, backoff_max=0.02)
NAME = "idempotency-key"
Open = Callable[[Config], Gate]


def config(provider: FakeProvider, **more: Any) -> Config:
    settings = ProviderConfig(base_url=provider.base_url, api_key=Secret("k"), **more)
    model = ModelConfig(targets=("p/one", "p/two"), fallbacks=("q/one",))
    return Config(providers={"p": settings, "q": settings}, models={"m": model}, retry=QUICK)


def asked(
    gate: Gate, provider: FakeProvider, about: int = 0, key: str = "", fails: int = 0
) -> list[tuple[str, str | None]]:
    """Model and key of each attempt of one call, of which the first so many fail."""
    before = len(provider.calls)
    provider.script(*[Status(500)] * fails)
    body = {"model": "m", "messages": [{"role": "user", "content": str(about)}]}
    assert gate.post(CHAT, body, {NAME: key} if key else None).status == 200
    return [(call.body["model"], call.headers.get(NAME)) for call in provider.calls[before:]]


def test_without_a_word_no_call_has_a_name(open_gate: Open, provider: FakeProvider) -> None:
    gate = open_gate(config(provider))
    assert asked(gate, provider, fails=2) == [("one", None), ("two", None), ("one", None)]


def test_a_clients_own_key_goes_to_the_first_target_as_it_is_and_to_no_other(
    open_gate: Open, provider: FakeProvider
) -> None:
    gate = open_gate(config(provider))
    first, second, third = asked(gate, provider, key="mine", fails=2)
    assert first == ("one", "mine")
    assert (second[0], third[0]) == ("two", "one")
    others = {second[1], third[1]}
    assert len(others) == 2, "another body, and another provider: other keys"
    assert not others & {None, "mine"}
    again = asked(gate, provider, about=1, key="mine", fails=2)
    assert again == [first, second, third], "who repeats a call repeats all of its keys"


def test_where_a_provider_wants_names_each_call_has_one_of_its_own(
    open_gate: Open, provider: FakeProvider
) -> None:
    gate = open_gate(config(provider, idempotency_key=True))
    keys = [key for about in range(20) for _, key in asked(gate, provider, about)]
    assert None not in keys
    assert len(set(keys)) == 20


def test_a_repeat_in_place_has_the_name_of_the_attempt_before(
    open_gate: Open, provider: FakeProvider
) -> None:
    settings = ProviderConfig(base_url=provider.base_url, api_key=Secret("k"), idempotency_key=True)
    gate = open_gate(Config(providers={"p": settings}, retry=QUICK))
    attempts = asked(gate, provider, fails=2)
    assert len(attempts) == 3
    assert len(set(attempts)) == 1
    assert attempts[0][1] != asked(gate, provider, about=1)[0][1]
    assert {key for _, key in asked(gate, provider, about=2, key="mine", fails=1)} == {"mine"}


@pytest.mark.parametrize("wanted", [False, True])
def test_the_key_is_no_part_of_the_question(
    open_gate: Open, provider: FakeProvider, wanted: bool
) -> None:
    gate = open_gate(config(provider, idempotency_key=wanted))
    assert len(asked(gate, provider, key="one")) == 1
    assert asked(gate, provider, key="another") == [], "a hit"
    assert asked(gate, provider) == []
