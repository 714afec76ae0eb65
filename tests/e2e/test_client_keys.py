"""A gateway that gives out keys of its own: who gets in, what they may ask for, whose answers are
whose; with the official SDKs, over sockets.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from dialects import DIALECTS, PATHS, clients_at, question, streamed
from gates import ONE_ATTEMPT, Gate, Got, providers_at
from keyring import NANOS, a_key, bearer, opened

from headgate.config import Config, KeysConfig, ModelConfig, PriceConfig
from headgate.layers.settings import LedgerConfig, LimitsConfig
from headgate.stores.keys import Made
from headgate.stores.ledger import read_rows
from headgate.testing import FaultServer, tenant_of

OURS = "sk-ours-canary"
ROUTES = {**PATHS, "embeddings": "/v1/embeddings", "count_tokens": "/v1/messages/count_tokens"}
BODIES: dict[str, dict[str, Any]] = {
    **{operation: question(operation) for operation in DIALECTS},
    "embeddings": {"model": "m", "input": "a", "dimensions": 4},
    "count_tokens": {"model": "m", "messages": [{"role": "user", "content": "q"}]},
}
PRICE = PriceConfig(input=Decimal(10), output=Decimal(20))
LISTED = {name: ModelConfig(targets=(f"openai/{name}", f"anthropic/{name}")) for name in "mn"}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(seed=7) as running:
        yield running


@pytest.fixture
def keys(tmp_path: Path) -> KeysConfig:
    return KeysConfig(str(tmp_path / "keys.db"))


@pytest.fixture
def gate(server: FaultServer, keys: KeysConfig) -> Iterator[Gate]:
    a_key(keys, "somebody")
    running = gate_with(server, keys)
    yield running
    running.close()


def gate_with(server: FaultServer, keys: KeysConfig, key: str = OURS, **more: Any) -> Gate:
    settings = {"prices": {"m": PRICE}, **ONE_ATTEMPT, **more}
    return Gate(Config(keys=keys, providers=providers_at(server, key), **settings))


def given(gate: Gate, keys: KeysConfig, tenant: str = "acme", **more: Any) -> Made:
    """A key that the gateway has heard of."""
    made = a_key(keys, tenant, **more)
    gate.clients.look()
    return made


def ask(gate: Gate, operation: str, key: Made | str, text: str = "q", **fields: Any) -> Got:
    body = {**BODIES[operation], **fields}
    if operation in DIALECTS:
        body = {**question(operation, text), **fields}
    return gate.post(ROUTES[operation], body, bearer(key))


def is_refused(got: Got, operation: str, status: int, code: str) -> None:
    """In the dialect of the route, with something to do about it."""
    assert (got.status, got.json["error"]["code"]) == (status, code)
    assert got.headers["x-should-retry"] == "false" or status == 429
    assert (got.headers.get("www-authenticate") == "Bearer") is (status == 401)
    error = got.json["error"]
    assert len(error["message"]) > 30
    if operation in ("messages", "count_tokens"):
        kinds = {401: "authentication_error", 402: "billing_error", 403: "permission_error",
                 429: "rate_limit_error", 503: "overloaded_error"}  # fmt: skip
        assert (got.json["type"], error["type"]) == ("error", kinds[status])
    else:
        assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("operation", ROUTES)
def test_every_role_at_every_route(
    gate: Gate, server: FaultServer, keys: KeysConfig, operation: str
) -> None:
    good = given(gate, keys)
    roles: list[tuple[dict[str, str], int, str]] = [
        ({}, 401, "key_missing"),
        (bearer("sk-unknown"), 401, "key_malformed"),
        (bearer(good.text[:-2] + "xx"), 401, "key_unknown"),
        (bearer(given(gate, keys, models=("n*",))), 403, "model_not_allowed"),
        (bearer(given(gate, keys, day_nanos=1, models=("x*",))), 403, "model_not_allowed"),
    ]
    if operation != "count_tokens":  # costs nothing
        roles.append((bearer(given(gate, keys, day_nanos=1)), 402, "budget_exhausted"))
    ended = [a_key(keys, expires_s=1.0), a_key(keys)]
    store = opened(keys)
    store.revoke(ended[1].record.id, 1.0)
    store.close()
    gate.clients.look()
    roles += [(bearer(ended[0]), 401, "key_expired"), (bearer(ended[1]), 401, "key_revoked")]
    for headers, status, code in roles:
        got = gate.post(ROUTES[operation], BODIES[operation], headers)
        is_refused(got, operation, status, code)
        for text in filter(None, [*headers.values(), good.text]):
            assert text.removeprefix("Bearer ")[3:].encode() not in got.body
    assert not server.calls
    got = gate.post(ROUTES[operation], BODIES[operation], bearer(good))
    assert got.status == 200, got.body
    assert len(server.calls) == 1


@pytest.mark.parametrize("operation", ROUTES)
def test_a_clients_key_is_never_sent_to_a_provider(
    gate: Gate, server: FaultServer, keys: KeysConfig, operation: str
) -> None:
    made = given(gate, keys)
    for name in ("authorization", "x-api-key"):
        value = f"Bearer {made.text}" if name == "authorization" else made.text
        body = {**BODIES[operation], "user": name}
        assert gate.post(ROUTES[operation], body, {name: value}).status == 200
    assert server.calls
    for call in server.calls:
        assert call.tenant == tenant_of(OURS)
        assert made.text[14:] not in repr(call.headers)


def test_without_a_key_of_the_provider_nothing_is_asked(
    server: FaultServer, keys: KeysConfig
) -> None:
    # A file that gets its first key while the gateway runs: at its start this is refused.
    gate = gate_with(server, keys, key="")
    try:
        assert ask(gate, "chat", "sk-theirs").status == 200
        made = given(gate, keys)
        for operation in DIALECTS:
            is_refused(ask(gate, operation, made), operation, 503, "provider_key_missing")
        assert len(server.calls) == 1
    finally:
        gate.close()


@pytest.mark.parametrize("key", ["", OURS], ids=["the client's", "its own"])
def test_a_gateway_that_has_lost_its_keys_sends_none_of_them_on(
    server: FaultServer, keys: KeysConfig, tmp_path: Path, key: str
) -> None:
    made = a_key(keys)
    gate = gate_with(server, KeysConfig(str(tmp_path / "elsewhere.db")), key=key)
    try:
        for name, value in (("authorization", f"Bearer {made.text}"), ("x-api-key", made.text)):
            for path in (*PATHS.values(), "/v1/models"):
                method = "GET" if path == "/v1/models" else "POST"
                body = json.dumps(BODIES["chat"]).encode()
                got = gate.ask(method, path, body, {name: value})
                assert (got.status, got.json["error"]["code"]) == (401, "key_unknown")
        assert not server.calls
        assert ask(gate, "chat", "sk-theirs").status == 200, "and what is none needs none"
    finally:
        gate.close()


def test_the_sdks_say_who_is_refused(gate: Gate, keys: KeysConfig) -> None:
    with clients_at(gate.url, "hg_wrong") as clients:
        for operation in DIALECTS:
            with pytest.raises((openai.AuthenticationError, anthropic.AuthenticationError)):
                clients.resource(operation).create(**question(operation))
    with clients_at(gate.url, given(gate, keys, models=("n",)).text) as clients:
        for operation in DIALECTS:
            with pytest.raises((openai.PermissionDeniedError, anthropic.PermissionDeniedError)):
                clients.resource(operation).create(**question(operation))
    with clients_at(gate.url, given(gate, keys, month_nanos=0).text) as clients:
        for operation in DIALECTS:
            with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
                clients.resource(operation).create(**question(operation))
            assert caught.value.status_code == 402
            assert "larger budget" in str(caught.value)
    with clients_at(gate.url, given(gate, keys, requests_per_min=1).text) as clients:
        clients.resource("chat").create(**question("chat"))
        for operation in DIALECTS:
            with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)) as limited:
                clients.resource(operation).create(**question(operation, "another"))
            assert 0 < int(limited.value.response.headers["retry-after"]) <= 60


def test_the_sdks_work_with_a_key(gate: Gate, server: FaultServer, keys: KeysConfig) -> None:
    with clients_at(gate.url, given(gate, keys).text) as clients:
        for operation in DIALECTS:
            before = len(server.calls)
            create = clients.resource(operation).create
            answers = [create(**question(operation)) for _ in range(2)]
            with create(**streamed(operation)) as stream:
                assert list(stream)
            assert answers[0] == answers[1]
            assert len(server.calls) == before + 1
        assert clients.openai.models.list()
        assert clients.anthropic.models.list()


def test_what_another_tenant_repeats_goes_upstream(
    gate: Gate, server: FaultServer, keys: KeysConfig
) -> None:
    one, same, other = (given(gate, keys, tenant) for tenant in ("acme", "acme", "other"))
    for operation, shape in product(DIALECTS, (question, streamed)):
        body = shape(operation)
        before = len(server.calls)
        first = gate.post(ROUTES[operation], body, bearer(one))
        gate.post(ROUTES[operation], body, bearer(same))
        mine = len(server.calls)
        assert mine == before + (shape is question), "both keys of a tenant share one answer"
        second = gate.post(ROUTES[operation], body, bearer(other))
        assert len(server.calls) == mine + (shape is question)
        assert (first.status, second.status) == (200, 200)
        if shape is question:
            assert "fwd=miss" in second.headers["cache-status"]


def test_a_tenant_cannot_take_the_name_of_another_for_a_namespace(
    gate: Gate, server: FaultServer, keys: KeysConfig
) -> None:
    one, other = given(gate, keys, "acme"), given(gate, keys, "other")
    ask(gate, "chat", one)
    for namespace in ("acme", one.record.id, "tenant"):
        headers = {**bearer(other), "headgate-namespace": namespace}
        got = gate.post(ROUTES["chat"], BODIES["chat"], headers)
        assert "fwd=miss" in got.headers["cache-status"]


def test_a_key_without_a_model_gets_none_of_its_tenants_answers_to_it(
    gate: Gate, server: FaultServer, keys: KeysConfig
) -> None:
    one, narrow = given(gate, keys), given(gate, keys, models=("n", "openai/n"))
    assert ask(gate, "chat", one).status == 200
    assert "hit" in ask(gate, "chat", one).headers["cache-status"]
    for model in ("m", "openai/m", "N", "n "):
        is_refused(ask(gate, "chat", narrow, model=model), "chat", 403, "model_not_allowed")
    for model in ("n", "openai/n"):
        assert ask(gate, "chat", narrow, model=model).status == 200
    message = ask(gate, "chat", narrow).json["error"]["message"]
    assert "n, openai/n" in message


def test_models_are_listed_as_far_as_a_key_may_ask_for_them(
    server: FaultServer, keys: KeysConfig
) -> None:
    a_key(keys)
    gate = gate_with(server, keys, models=LISTED)
    try:
        both, one = given(gate, keys), given(gate, keys, models=("n",))
        assert gate.get("/v1/models").json["error"]["code"] == "key_missing"
        for made, names in ((both, ["m", "n"]), (one, ["n"])):
            listed = gate.get("/v1/models", bearer(made)).json
            assert [model["id"] for model in listed["data"]] == names
    finally:
        gate.close()


def test_a_providers_own_list_is_cut_down_too(
    gate: Gate, server: FaultServer, keys: KeysConfig
) -> None:
    both = {model["id"] for model in gate.get("/v1/models", bearer(given(gate, keys))).json["data"]}
    assert len(both) > 1
    name = sorted(both)[0]
    for headers in ({}, {"anthropic-version": "2023-06-01"}):
        one = given(gate, keys, models=(name,))
        listed = gate.get("/v1/models", {**bearer(one), **headers}).json
        assert {model["id"] for model in listed["data"]} <= {name}


def test_what_is_no_call_needs_no_key_and_no_key_opens_more(gate: Gate, keys: KeysConfig) -> None:
    made = given(gate, keys)
    for path in ("/healthz", "/readyz", "/metrics"):
        assert gate.get(path).status == 200
    outside = {**bearer(made), "x-forwarded-for": "10.0.0.1"}
    for path in ("/api/metrics/llm", "/api/admin/cache"):
        assert gate.get(path, outside).status == 401
    assert gate.get("/v1/chat/completions", bearer(made)).status == 405
    assert gate.get("/v1/nothing", bearer(made)).status == 404


def test_a_body_is_not_asked_for_from_somebody_without_a_key(gate: Gate) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n"
    assert gate.raw(head).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("value", [b"'", b'"', b"' OR ''='", b"hg_%00", b"\xff", b"hg_" * 9000])
def test_no_authorization_header_does_anything_else(gate: Gate, value: bytes) -> None:
    lines = b"host: x\r\nconnection: close\r\ncontent-length: 2\r\nauthorization: Bearer " + value
    got = gate.raw(b"POST /v1/chat/completions HTTP/1.1\r\n" + lines + b"\r\n\r\n{}")
    assert got.startswith(b"HTTP/1.1 401 ")
    assert value[:60] not in got or len(value) < 3


@pytest.mark.parametrize("value", [b"a" * 1_000_000, b"hg_\x00", b"a\x00b"], ids=len)
def test_what_is_no_header_is_refused_before_it_is_one(gate: Gate, value: bytes) -> None:
    got = gate.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: " + value + b"\r\n\r\n"
    )
    assert got == b"" or got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert gate.get("/healthz").status == 200


def test_a_stream_outlives_its_key(gate: Gate, server: FaultServer, keys: KeysConfig) -> None:
    made = given(gate, keys)
    server.hold()
    with clients_at(gate.url, made.text) as clients:
        # Released once the key is gone: the head may come before, the events come after.
        store = opened(keys)
        answers: list[Any] = []
        thread = threading.Thread(
            target=lambda: answers.extend(clients.resource("chat").create(**streamed("chat")))
        )
        thread.start()
        server.wait_for_calls(1)
        store.revoke(made.record.id, 1.0)
        store.close()
        gate.clients.look()
        is_refused(ask(gate, "chat", made), "chat", 401, "key_revoked")
        server.release()
        thread.join(60)
    assert answers[-1].usage or answers[-2].choices[0].finish_reason


def test_limits_of_all_clients_hold_for_a_tenant(server: FaultServer, keys: KeysConfig) -> None:
    a_key(keys)
    gate = gate_with(server, keys, limits=LimitsConfig(client_requests_per_minute=2))
    try:
        one, same, other = (given(gate, keys, tenant) for tenant in ("a", "a", "b"))
        statuses = [ask(gate, "chat", key, str(n)).status for n, key in enumerate((one, same, one))]
        assert statuses == [200, 200, 429]
        assert ask(gate, "chat", other).status == 200
    finally:
        gate.close()


def test_rows_of_the_ledger_say_whose_they_are(
    server: FaultServer, keys: KeysConfig, tmp_path: Path
) -> None:
    a_key(keys)
    path = tmp_path / "ledger.db"
    gate = gate_with(server, keys, ledger=LedgerConfig(persist=True, path=str(path)))
    one = given(gate, keys)
    for _ in range(3):
        assert ask(gate, "chat", one).status == 200
    gate.close()
    rows = list(read_rows(path, 0.0, 1e12))
    assert {row.tenant for row in rows} == {f"acme/{one.record.id}"}
    assert {row.row.kind: row.row.calls for row in rows} == {"answer": 1, "avoided_exact": 2}
    assert one.text not in json.dumps([str(row) for row in rows])


def test_a_key_with_money_is_not_refused_for_one_without(
    gate: Gate, server: FaultServer, keys: KeysConfig
) -> None:
    poor, rich = given(gate, keys, day_nanos=1), given(gate, keys, day_nanos=NANOS)
    with ThreadPoolExecutor(12) as threads:
        for about in range(5):
            holders = [poor, rich] * 6
            got = list(
                threads.map(lambda key, about=about: ask(gate, "chat", key, f"{about}"), holders)
            )
            assert {one.status for one in got[1::2]} == {200}
            assert {one.status for one in got[::2]} <= {200, 402}
