"""What crosses the gateway, and what must not: credentials, headers, hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from headgate.testing import Answer, FakeProvider, Status

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
QUESTION: Any = [{"role": "user", "content": "q"}]
BODY: dict[str, Any] = {"model": "m", "messages": QUESTION, "max_tokens": 50}
OURS = "sk-ours-0123456789"
THEIRS = "sk-theirs-9876543210"


def test_without_a_key_of_ours_the_clients_own_credential_is_forwarded(
    gate: Any, provider: FakeProvider
) -> None:
    with openai.OpenAI(base_url=gate.openai_url, api_key=THEIRS) as client:
        client.chat.completions.create(model="m", messages=QUESTION)
    with anthropic.Anthropic(base_url=gate.url, api_key=THEIRS) as client:
        client.messages.create(model="m", messages=QUESTION, max_tokens=50)
    gate.post(MESSAGES, BODY, {"x-api-key": THEIRS})
    sent = [call.headers for call in provider.calls]
    assert sent[0]["authorization"] == f"Bearer {THEIRS}"
    assert sent[1]["authorization"] == f"Bearer {THEIRS}"
    assert sent[2]["x-api-key"] == THEIRS
    assert "authorization" not in sent[2]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("more", [{}, {"stream": True}, {"x": 1}])
def test_with_a_key_of_ours_the_clients_credential_never_leaves(
    open_gate_to: Callable[..., Any], provider: FakeProvider, path: str, more: dict[str, Any]
) -> None:
    gate = open_gate_to(OURS)
    headers = {"authorization": f"Bearer {THEIRS}", "x-api-key": THEIRS}
    got = gate.post(path, {**BODY, **more}, headers)
    assert got.status == 200
    (call,) = provider.calls
    assert THEIRS not in str(call.headers) + call.raw.decode() + call.path
    name, value = ("x-api-key", OURS) if path == MESSAGES else ("authorization", f"Bearer {OURS}")
    assert call.headers[name] == value
    assert OURS not in str(got.headers) + got.body.decode()


def test_our_key_asks_for_the_list_of_models_too(
    open_gate_to: Callable[..., Any], provider: FakeProvider
) -> None:
    open_gate_to(OURS).get("/v1/models", {"authorization": f"Bearer {THEIRS}"})
    assert provider.calls[0].headers["authorization"] == f"Bearer {OURS}"
    assert THEIRS not in str(provider.calls[0].headers)


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_an_error_body_that_quotes_our_key_reaches_the_client_without_it(
    open_gate_to: Callable[..., Any], provider: FakeProvider, path: str, status: int
) -> None:
    body = {"error": {"message": f"Incorrect API key provided: {OURS}.", "x": [f"Bearer {OURS}"]}}
    headers = {"x-request-id": "r", "www-authenticate": f"Bearer {OURS}", "x-debug": OURS}
    provider.script(Status(status, body, headers))
    got = open_gate_to(OURS).post(path, BODY)
    assert got.status == status
    assert OURS not in str(got.headers) + got.body.decode()
    assert got.json["error"]["message"] == "Incorrect API key provided: ***."


def test_one_keys_answers_are_not_shared_between_clients_even_under_our_key(
    open_gate_to: Callable[..., Any], provider: FakeProvider
) -> None:
    gate = open_gate_to(OURS)
    for tenant in ("a", "b", "a"):
        gate.post(CHAT, BODY, {"authorization": f"Bearer {tenant}"})
    assert len(provider.calls) == 2


KEPT = {
    "content-type": "application/json",
    "accept": "application/json",
    "openai-beta": "x=1",
    "openai-organization": "org-1",
    "openai-project": "proj-1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=1",
}
DROPPED = {
    "cookie": "session=1",
    "x-stainless-lang": "python",
    "x-stainless-retry-count": "1",
    "headgate-namespace": "n",
    "headgate-tags": "a",
    "headgate-ttl": "5m",
    "cache-control": "max-age=60",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-host": "evil.example",
    "forwarded": "for=10.0.0.1",
    "proxy-authorization": "Basic x",
    "te": "trailers",
    "keep-alive": "timeout=5",
    "upgrade": "h2c",
    "connection": "keep-alive, x-hop",
    "x-hop": "1",
    "origin": "http://evil.example",
    "referer": "http://evil.example",
    "x-openai-base-url": "http://evil.example",
    "expect": "x",
}


def test_only_the_listed_headers_go_upstream(gate: Any, provider: FakeProvider) -> None:
    dropped = {name: value for name, value in DROPPED.items() if name not in ("upgrade", "expect")}
    assert gate.post(CHAT, BODY, {**KEPT, **dropped, "user-agent": "spy/1.0"}).status == 200
    headers = provider.calls[0].headers
    for name, value in KEPT.items():
        assert headers[name] == value
    assert headers["accept-encoding"] == "identity"
    assert headers["host"] == f"127.0.0.1:{provider.base_url.split(':')[2].split('/')[0]}"
    assert "spy/1.0" not in str(headers)
    allowed = {*KEPT, "accept-encoding", "host", "content-length", "user-agent", "connection"}
    assert set(headers) <= allowed
    assert headers.get("connection", "keep-alive").lower() == "keep-alive"


def test_only_the_listed_headers_come_back(gate: Any, provider: FakeProvider) -> None:
    handed_on = {
        "x-request-id": "req_1", "openai-version": "2020-10-01", "openai-processing-ms": "5",
        "openai-organization": "org", "x-ratelimit-limit-tokens": "10",
        "anthropic-ratelimit-tokens-limit": "10", "retry-after": "1",
    }  # fmt: skip
    kept_back = {
        "set-cookie": "a=b", "server": "nginx", "via": "1.1 x", "x-internal": "1",
        "cache-status": "cdn; hit", "age": "99", "headgate-key": "forged", "alt-svc": "h3",
        "strict-transport-security": "max-age=1", "access-control-allow-origin": "*",
        "cache-control": "no-store",
    }  # fmt: skip
    provider.script(Answer(headers={**handed_on, **kept_back}))
    first, second = gate.post(CHAT, BODY), gate.post(CHAT, BODY)
    for got in (first, second):
        for name, value in handed_on.items():
            assert got.headers[name] == value
        for name, value in kept_back.items():
            assert got.headers.get(name) != value
    assert "; hit; " in second.headers["cache-status"]


HOST_FIELDS = ("api_base", "base_url", "host", "url", "proxy", "endpoint", "callback_url",
               "user_config", "headers", "extra_headers")  # fmt: skip


@pytest.mark.parametrize("name", HOST_FIELDS)
def test_nothing_in_a_request_can_name_a_host(gate: Any, provider: FakeProvider, name: str) -> None:
    with FakeProvider() as canary:
        inner = {name: canary.base_url, "nested": {name: canary.base_url}}
        body = {**BODY, **inner, "metadata": inner, "extra_body": inner, "litellm_params": inner}
        header = name.replace("_", "-") if name != "host" else "x-host"
        assert gate.post(CHAT, body, {header: canary.base_url}).status == 200
        host = canary.base_url.removeprefix("http://").removesuffix("/v1")
        gate.post(CHAT, {**BODY, "model": f"http://{host}/m"}, {"host": host})
        assert canary.calls == []
    assert len(provider.calls) == 2


def test_a_redirect_is_not_followed(gate: Any, provider: FakeProvider) -> None:
    with FakeProvider() as canary:
        location = {"location": f"{canary.base_url}/chat/completions"}
        provider.script(Status(307, b"{}", location))
        got = gate.post(CHAT, BODY, {"authorization": "Bearer x"})
        assert (got.status, got.headers.get("location")) == (307, None)
        assert canary.calls == []


@pytest.mark.parametrize("model", ["a\r\nset-cookie: x=1", "a\x00b", "模型", "m\n\nHTTP/1.1 200"])
def test_a_model_name_cannot_write_headers(gate: Any, model: str) -> None:
    for _ in range(2):
        got = gate.post(CHAT, {**BODY, "model": model})
        assert got.status == 200
        assert "set-cookie" not in got.headers
        assert got.headers["headgate-target"].startswith("openai/")
