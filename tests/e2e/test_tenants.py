"""Nothing is shared between tenants: what one has asked before costs the other a call of its own,
in every dialect and shape. Only the namespaces that an operator lists are open to all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from dialects import DIALECTS, PATHS, clients_at, question, streamed
from gates import Gate, Got, gate_before

from headgate.layers.settings import CacheConfig
from headgate.testing import FaultServer, marks_in, tenant_of

EMBEDDINGS = {"model": "m", "input": ["a", "b"], "dimensions": 8}
ROUTES = {**PATHS, "embeddings": "/v1/embeddings"}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    *((name, shape(name)) for name, shape in product(DIALECTS, (question, streamed))),
    ("embeddings", EMBEDDINGS),
]
CREDENTIALS = ("authorization", "x-api-key")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=7) as running:
        yield running


@pytest.fixture
def gate(server: FaultServer) -> Iterator[Gate]:
    with gate_before(server) as running:
        yield running


def ask(
    gate: Gate, operation: str, body: dict[str, Any], key: str, name: str = "authorization",
    **headers: str,
) -> Got:  # fmt: skip
    credential = f"Bearer {key}" if name == "authorization" else key
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    got = gate.post(ROUTES[operation], body, {name: credential, **named})
    assert got.status == 200
    return got


def owners(got: Got) -> set[str]:
    """Whose answer it is, by the marks that its provider put in."""
    return {mark.tenant for mark in marks_in(got.body)}


def named(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "streamed" if "stream" in value else "whole"


@pytest.mark.parametrize("name", CREDENTIALS)
def test_every_prompt_that_another_tenant_repeats_goes_upstream(
    gate: Gate, server: FaultServer, name: str
) -> None:
    asked = [(operation, {**body, "user": "u"}) for operation, body in REQUESTS]
    firsts = {}
    for operation, body in asked:
        got = ask(gate, operation, body, "tenant-a", name)
        firsts[operation, json.dumps(body)] = got
        if operation != "embeddings":
            assert owners(got) == {tenant_of("tenant-a")}
    paid = len(server.calls)
    assert paid == len(DIALECTS) + 1, "a stream and a whole answer are one entry"
    seen: set[str] = set()
    for operation, body in asked:
        got = ask(gate, operation, body, "tenant-b", name)
        if operation not in seen:
            seen.add(operation)
            paid += 1
            assert "fwd=miss" in got.headers["cache-status"]
        assert len(server.calls) == paid
        if operation != "embeddings":
            assert owners(got) == {tenant_of("tenant-b")}
    for operation, body in asked:
        got = ask(gate, operation, body, "tenant-a", name)
        assert got.body == firsts[operation, json.dumps(body)].body
    assert len(server.calls) == paid


def test_the_sdks_of_two_tenants_share_nothing(gate: Gate, server: FaultServer) -> None:
    with clients_at(gate.url, "tenant-a") as one, clients_at(gate.url, "tenant-b") as other:
        for clients, operation in product((one, other), DIALECTS):
            before = len(server.calls)
            create = clients.resource(operation).create
            answers = [create(**question(operation)) for _ in range(2)]
            with create(**streamed(operation)) as stream:
                assert list(stream)
            assert answers[0] == answers[1]
            assert len(server.calls) == before + 1


def test_a_key_of_the_gateways_own_does_not_make_its_callers_one(server: FaultServer) -> None:
    with gate_before(server, key="sk-ours") as gate:
        for operation, body in REQUESTS:
            for key in ("tenant-a", "tenant-b"):
                ask(gate, operation, body, key)
    assert len(server.calls) == 2 * (len(DIALECTS) + 1)
    assert {call.tenant for call in server.calls} == {tenant_of("sk-ours")}


@pytest.mark.parametrize(("operation", "body"), REQUESTS, ids=named)
def test_only_a_namespace_that_the_operator_lists_is_shared(
    server: FaultServer, operation: str, body: dict[str, Any]
) -> None:
    with gate_before(server, CacheConfig(shared_namespaces=("public",))) as gate:
        first, second = (
            ask(gate, operation, body, key, headgate_namespace="public")
            for key in ("tenant-a", "tenant-b")
        )
        assert first.body == second.body
        assert second.headers["cache-status"].startswith("headgate; hit; ")
        assert len(server.calls) == 1
        for key, namespace in (("tenant-a", "private"), ("tenant-b", "private"), ("tenant-a", "")):
            named = {"headgate_namespace": namespace} if namespace else {}
            got = ask(gate, operation, body, key, **named)
            assert "fwd=miss" in got.headers["cache-status"]
    assert len(server.calls) == 4


def test_a_namespace_narrows_inside_a_tenant(gate: Gate, server: FaultServer) -> None:
    for namespace in ("day", "night"):
        for body in (streamed("chat"), question("chat"), streamed("chat")):
            ask(gate, "chat", body, "tenant-a", headgate_namespace=namespace)
    assert len(server.calls) == 2


@pytest.mark.parametrize("shape", [question, streamed], ids=lambda shape: shape.__name__)
def test_end_users_of_a_tenant_are_apart_where_that_is_configured(
    server: FaultServer, shape: Any
) -> None:
    users = ("ann", "bob", "ann")
    for scope, calls in (("tenant", 1), ("user", 2)):
        before = len(server.calls)
        with gate_before(server, CacheConfig(scope=scope)) as gate:
            for user in users:
                ask(gate, "chat", shape("chat", user=user), "tenant-a")
        assert len(server.calls) == before + calls
