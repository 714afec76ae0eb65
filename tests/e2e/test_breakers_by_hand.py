"""POST /api/admin/breakers: an administrator puts a breaker into a state, and sees them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate, Got, providers_at

from headgate.config import Config, ServerConfig
from headgate.testing import FakeProvider, Status
from headgate.types import Secret

PATH = "/api/admin/breakers"
TOKEN = "an-administrators-token"


@pytest.fixture
def gate(open_gate: Callable[[Config], Gate], provider: FakeProvider) -> Gate:
    """A gateway that has asked the deployment `openai/m` once."""
    gate = open_gate(Config(providers=providers_at(provider, "sk-own")))
    assert asked(gate).status == 200
    return gate


def asked(gate: Gate, text: str = "Hello?", model: str = "m") -> Got:
    messages = [{"role": "user", "content": text}]
    return gate.post("/v1/chat/completions", {"model": model, "messages": messages})


def forced(gate: Gate, state: str, gate_name: str = "deployment", name: str = "openai/m") -> Got:
    return gate.post(PATH, {"gate": gate_name, "name": name, "state": state})


def state_of(reply: Got, name: str = "openai/m") -> str:
    assert reply.status == 200, reply.body
    return str(reply.json["deployments"][name]["state"])


@pytest.mark.parametrize(
    ("gate_name", "name"), [("deployment", "openai/m"), ("endpoint", "openai")]
)
def test_forced_open_refuses_until_it_is_reset(
    gate: Gate, provider: FakeProvider, gate_name: str, name: str
) -> None:
    reply = forced(gate, "forced_open", gate_name, name)
    assert reply.json[f"{gate_name}s"][name]["state"] == "forced_open"
    before = len(provider.calls)
    refused = asked(gate, "while it is open")
    assert (refused.status, refused.json["error"]["code"]) == (503, "provider_unavailable")
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers, "nobody knows when"
    assert len(provider.calls) == before
    assert asked(gate).headers["cache-status"].startswith("headgate; hit"), "hits go on"
    forced(gate, "reset", gate_name, name)
    assert asked(gate, "after that").status == 200


def test_open_refuses_for_its_time_and_tells_when(gate: Gate) -> None:
    assert state_of(forced(gate, "open")) == "open"
    refused = asked(gate, "while it is open")
    assert (refused.status, 1 <= int(refused.headers["retry-after"]) <= 5) == (503, True)


def test_half_open_is_closed_by_three_good_probes(gate: Gate) -> None:
    forced(gate, "open")
    assert state_of(forced(gate, "half_open")) == "half_open"
    for number in range(3):
        assert asked(gate, f"probe {number}").status == 200
    assert gate.stats()["breakers"]["deployments"]["openai/m"]["state"] == "closed"


@pytest.mark.parametrize("state", ["disabled", "metrics_only"])
def test_disabled_and_metrics_only_never_refuse(
    gate: Gate, provider: FakeProvider, state: str
) -> None:
    assert state_of(forced(gate, state)) == state
    provider.script(*[Status(500)] * 30)
    statuses = {asked(gate, f"failing {number}").status for number in range(25)}
    assert 503 not in statuses
    row = gate.stats()["breakers"]["deployments"]["openai/m"]
    assert (row["state"], row["calls"]["refused"]) == (state, 0)
    assert (row["calls"]["fault"] > 0) == (state == "metrics_only")


def test_the_change_is_counted_with_its_reason(gate: Gate) -> None:
    told = forced(gate, "forced_open").json["transitions"]
    assert {"gate": "deployment", "target": "openai/m", "from": "closed", "to": "forced_open",
            "reason": "manual", "count": 1} in told  # fmt: skip
    text = gate.get("/metrics").body.decode()
    assert 'headgate_breaker_state{provider="openai",model="m",gate="deployment"} 3' in text


# Bad input.

GOOD = {"gate": "deployment", "name": "openai/m", "state": "open"}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"open"', b"null", b"\xff",
        {}, {"gate": "deployment"}, {**GOOD, "more": 1}, {**GOOD, "state": None},
        {**GOOD, "state": 1}, {**GOOD, "name": ["openai/m"]}, {**GOOD, "gate": {}},
        {**GOOD, "state": "ajar"}, {**GOOD, "state": ""}, {**GOOD, "state": "OPEN"},
        {**GOOD, "gate": "door"}, {**GOOD, "gate": "endpoint"}, {**GOOD, "name": ""},
        {**GOOD, "name": "openai/unknown"}, {**GOOD, "name": "x" * 100_000},
        {**GOOD, "name": "\ud800"}, {**GOOD, "gate": "credential"},
        {**GOOD, "state": "half_open"},
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_400_and_changes_nothing(gate: Gate, body: Any) -> None:
    before = gate.stats()["breakers"]
    reply = gate.post(PATH, body)
    assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_request")
    assert len(reply.body) < 2_000
    assert gate.stats()["breakers"] == before


def test_a_name_that_nobody_asked_for_makes_no_breaker(gate: Gate) -> None:
    for number in range(100):
        forced(gate, "open", name=f"openai/invented-{number}")
    assert list(gate.stats()["breakers"]["deployments"]) == ["openai/m"]


# Who may.


def test_only_post_and_only_administrators(
    gate: Gate, open_gate: Callable[[Config], Gate], provider: FakeProvider
) -> None:
    assert gate.get(PATH).status == 405
    assert gate.post(PATH, GOOD, {"origin": "http://evil.example"}).status == 403
    assert gate.post(PATH, GOOD, {"x-forwarded-for": "1.2.3.4"}).status == 401
    server = ServerConfig(admin_token=Secret(TOKEN))
    guarded = open_gate(Config(server=server, providers=providers_at(provider, "sk-own")))
    asked(guarded)
    for line in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
        # As through a proxy: what is on this machine needs no token.
        reply = guarded.post(PATH, GOOD, {**line, "x-forwarded-for": "1.2.3.4"})
        assert reply.status == 401
        assert TOKEN not in reply.body.decode()
    reply = guarded.post(PATH, GOOD, {"authorization": f"Bearer {TOKEN}"})
    assert state_of(reply) == "open"
    assert "sk-own" not in json.dumps(reply.json)
