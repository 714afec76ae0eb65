"""The official Anthropic SDK, sync and async, through the gateway: hits, errors, models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest

from headgate.testing import Answer, FakeProvider, Status

QUESTION: Any = [{"role": "user", "content": "How do I reset my card?"}]
TOOL: Any = {"name": "find", "input_schema": {"type": "object"}}

CALLS: dict[str, Callable[[Any], Any]] = {
    "message": lambda client: client.messages.create(
        model="m", max_tokens=100, messages=QUESTION
    ),
    "system and tools": lambda client: client.messages.create(
        model="m", max_tokens=100, system="Be short.", messages=QUESTION, tools=[TOOL],
        tool_choice={"type": "any"},
    ),
    "explicit limit": lambda client: client.messages.create(
        model="m", max_tokens=2, messages=QUESTION
    ),
}  # fmt: skip


@pytest.fixture
def client(gate: Any) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gate.url, api_key="sk-ant-test", max_retries=0) as sdk:
        yield sdk


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_second_equal_call_asks_nobody_and_gives_an_equal_object(
    client: anthropic.Anthropic, provider: FakeProvider, call: Callable[[Any], Any]
) -> None:
    first, second = call(client), call(client)
    assert first == second
    assert len(provider.calls) == 1
    assert provider.calls[0].path == "/v1/messages"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_entry_filled_by_an_async_client_serves_a_sync_one(
    gate: Any, client: anthropic.Anthropic, provider: FakeProvider, call: Callable[[Any], Any]
) -> None:
    async def ask() -> Any:
        async with anthropic.AsyncAnthropic(base_url=gate.url, api_key="sk-ant-test") as sdk:
            return await call(sdk)

    assert asyncio.run(ask()) == call(client)
    assert len(provider.calls) == 1


def test_the_raw_interface_sees_where_an_answer_came_from(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response
    first, second = (raw.create(model="m", max_tokens=100, messages=QUESTION) for _ in range(2))
    assert first.headers["cache-status"] == "headgate; fwd=miss; stored"
    assert second.headers["cache-status"].startswith("headgate; hit; ttl=")
    assert first.headers["request-id"] == second.headers["request-id"]
    assert first.parse() == second.parse()


def test_versions_and_betas_reach_the_provider_and_the_key(
    client: anthropic.Anthropic, provider: FakeProvider
) -> None:
    for beta in ("a", "b", "a"):
        client.messages.create(
            model="m", max_tokens=100, messages=QUESTION, extra_headers={"anthropic-beta": beta}
        )
    assert [call.headers["anthropic-beta"] for call in provider.calls] == ["a", "b"]
    assert (
        provider.calls[0].headers["anthropic-version"]
        == client.default_headers["anthropic-version"]
    )
    assert provider.calls[0].headers["authorization"] == "Bearer sk-ant-test"


def test_tokens_are_counted_by_the_provider_every_time(
    client: anthropic.Anthropic, provider: FakeProvider
) -> None:
    counts = [client.messages.count_tokens(model="m", messages=QUESTION) for _ in range(2)]
    assert counts[0].input_tokens > 0
    assert [call.path for call in provider.calls] == ["/v1/messages/count_tokens"] * 2


def test_models_are_listed_from_the_anthropic_provider(
    client: anthropic.Anthropic, provider: FakeProvider
) -> None:
    assert client.models.list(limit=5).data
    assert provider.calls[0].path == "/v1/models?limit=5"
    assert provider.calls[0].headers["authorization"] == "Bearer sk-ant-test"


ERRORS = [
    (400, anthropic.BadRequestError),
    (401, anthropic.AuthenticationError),
    (404, anthropic.NotFoundError),
    (413, anthropic.APIStatusError),
    (429, anthropic.RateLimitError),
    (500, anthropic.InternalServerError),
    (529, anthropic.APIStatusError),
]


@pytest.mark.parametrize(("status", "kind"), ERRORS)
def test_an_error_of_the_provider_passes_through_untouched_and_is_not_stored(
    client: anthropic.Anthropic, provider: FakeProvider, status: int,
    kind: type[anthropic.APIStatusError],
) -> None:  # fmt: skip
    body = b'{"type":"error",  "error":{"type":"t","message":"no"},"request_id":"r"}'
    headers = {"retry-after": "17", "request-id": "req_1",
               "anthropic-ratelimit-requests-remaining": "0"}  # fmt: skip
    provider.script(Status(status, body, headers))
    with pytest.raises(kind) as caught:
        CALLS["message"](client)
    error = caught.value
    assert error.status_code == status
    assert error.response.content == body
    assert error.response.headers["retry-after"] == "17"
    assert error.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert error.response.headers["request-id"] == "req_1"
    assert CALLS["message"](client).content
    assert len(provider.calls) == 2


@pytest.mark.parametrize("reason", ["pause_turn", "refusal", "something_new", None])
def test_an_answer_that_is_not_finished_is_handed_on_but_not_stored(
    client: anthropic.Anthropic, provider: FakeProvider, reason: str | None
) -> None:
    body = {"type": "message", "role": "assistant", "content": [], "stop_reason": reason}
    provider.script(Answer(body=body), Answer(body=body))
    assert [CALLS["message"](client).stop_reason for _ in range(2)] == [reason, reason]
    assert len(provider.calls) == 2


def test_our_own_refusals_are_the_sdks_own_exceptions(gate: Any) -> None:
    with anthropic.Anthropic(base_url=gate.url, api_key="k", max_retries=2) as client:
        ask = {"model": "m", "max_tokens": 5, "messages": QUESTION}
        with pytest.raises(anthropic.BadRequestError, match="must be true or false") as caught:
            client.messages.create(**ask, extra_body={"stream": "yes"})
        assert caught.value.type == "invalid_request_error"
        with pytest.raises(anthropic.BadRequestError, match="headgate-namespace"):
            client.messages.create(**ask, extra_headers={"headgate-namespace": "a b"})
        with pytest.raises(anthropic.APIStatusError, match="only-if-cached") as missed:
            client.messages.create(**ask, extra_headers={"cache-control": "only-if-cached"})
        assert missed.value.status_code == 504
