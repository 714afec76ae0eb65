"""google-genai, mistralai and Azure's OpenAI client through the transport: whole and streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types
from mistralai.client import Mistral

from headgate.runtime import Runtime
from headgate.testing import Answer, FakeProvider

QUESTION: Any = [{"role": "user", "content": "Capital of France?"}]


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime() as one:
        yield one


def spoken(text: str, **more: Any) -> dict[str, Any]:
    content = {"parts": [{"text": text}], "role": "model"}
    return {
        "candidates": [{"content": content, "index": 0, **more}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "gem",
    }


WHOLE = spoken("Paris", finishReason="STOP")
PIECES = [spoken("Pa"), spoken("ris", finishReason="STOP")]
EVENTS = [b"data: " + json.dumps(piece).encode() + b"\r\n\r\n" for piece in PIECES]


def google(runtime: Runtime, provider: FakeProvider) -> genai.Client:
    options = types.HttpOptions(
        base_url=provider.anthropic_base_url,
        httpx_client=runtime.http_client(),
        httpx_async_client=runtime.http_client(True),
    )
    return genai.Client(api_key="k", http_options=options)


def test_a_second_answer_of_googles_asks_nobody(runtime: Runtime, provider: FakeProvider) -> None:
    provider.script(Answer(body=WHOLE))
    client = google(runtime, provider)

    async def ask() -> Any:
        return await client.aio.models.generate_content(model="gem", contents="Capital?")

    answers = [client.models.generate_content(model="gem", contents="Capital?") for _ in range(2)]
    answers.append(asyncio.run(ask()))
    assert [answer.text for answer in answers] == ["Paris"] * 3
    assert answers[0].usage_metadata == answers[1].usage_metadata == answers[2].usage_metadata
    (call,) = provider.calls
    assert (call.path, call.headers["x-goog-api-key"]) == ("/v1/models/gem:generateContent", "k")
    assert runtime.stats()["metrics"]["by_model"]["gem"]["tokens"] == 5


def test_a_second_stream_of_googles_asks_nobody(runtime: Runtime, provider: FakeProvider) -> None:
    provider.script(Answer(chunks=EVENTS))
    client = google(runtime, provider)

    def ask() -> list[str | None]:
        stream = client.models.generate_content_stream(model="gem", contents="Capital?")
        return [chunk.text for chunk in stream]

    async def aask() -> list[str | None]:
        stream = await client.aio.models.generate_content_stream(model="gem", contents="Capital?")
        return [chunk.text async for chunk in stream]

    assert [ask(), ask(), asyncio.run(aask())] == [["Pa", "ris"]] * 3
    assert len(provider.calls) == 1
    assert runtime.stats()["metrics"]["by_model"]["gem"]["tokens"] == 5


def test_whole_and_streamed_answers_of_googles_have_entries_of_their_own(
    runtime: Runtime, provider: FakeProvider
) -> None:
    provider.script(Answer(chunks=EVENTS), Answer(body=WHOLE))
    client = google(runtime, provider)
    list(client.models.generate_content_stream(model="gem", contents="Capital?"))
    assert client.models.generate_content(model="gem", contents="Capital?").text == "Paris"
    assert len(provider.calls) == 2


@pytest.mark.parametrize(
    ("finish", "config", "calls"),
    [
        ("SAFETY", {}, 2),
        ("MAX_TOKENS", {}, 2),
        ("MAX_TOKENS", {"max_output_tokens": 5}, 1),
        ("STOP", {"tools": [types.Tool(google_search=types.GoogleSearch())]}, 2),
        ("STOP", {"cached_content": "cachedContents/1"}, 2),
        ("STOP", {"temperature": 0.3}, 1),
    ],
)
def test_the_store_gate_knows_googles_words(
    runtime: Runtime, provider: FakeProvider, finish: str, config: dict[str, Any], calls: int
) -> None:
    provider.script(*[Answer(body=spoken("Pa", finishReason=finish))] * 2)
    client = google(runtime, provider)
    settings = types.GenerateContentConfig(**config)
    for _ in range(2):
        client.models.generate_content(model="gem", contents="Capital?", config=settings)
    assert len(provider.calls) == calls


def test_an_error_of_googles_and_a_refusal_of_ours_are_its_usual_exceptions(
    runtime: Runtime, provider: FakeProvider
) -> None:
    failed = {"error": {"code": 400, "message": "no such model", "status": "INVALID_ARGUMENT"}}
    provider.script(Answer(body=failed, status=400))
    client = google(runtime, provider)
    with pytest.raises(genai.errors.ClientError, match="no such model"):
        client.models.generate_content(model="gem", contents="Capital?")
    only = types.HttpOptions(headers={"cache-control": "only-if-cached"})
    with pytest.raises(genai.errors.ServerError, match="only-if-cached"):
        client.models.generate_content(
            model="gem", contents="Capital?", config=types.GenerateContentConfig(http_options=only)
        )
    assert len(provider.calls) == 1


def mistral(runtime: Runtime, provider: FakeProvider) -> Mistral:
    return Mistral(
        api_key="k", server_url=provider.anthropic_base_url, client=runtime.http_client(),
        async_client=runtime.http_client(True),
    )  # fmt: skip


def test_a_second_answer_of_mistrals_asks_nobody(runtime: Runtime, provider: FakeProvider) -> None:
    with mistral(runtime, provider) as client:
        answers = [client.chat.complete(model="m", messages=QUESTION) for _ in range(2)]
        answers.append(asyncio.run(client.chat.complete_async(model="m", messages=QUESTION)))
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0}
        vector = {"id": "e", "object": "list", "data": data, "model": "m", "usage": usage}
        provider.script(Answer(body=vector))
        vectors = [client.embeddings.create(model="m", inputs=["a"]) for _ in range(2)]
    assert answers[0] == answers[1] == answers[2]
    assert vectors[0] == vectors[1]
    assert len(provider.calls) == 2


def test_a_second_stream_of_mistrals_asks_nobody(runtime: Runtime, provider: FakeProvider) -> None:
    async def ask(client: Mistral) -> list[Any]:
        stream = await client.chat.stream_async(model="m", messages=QUESTION)
        async with stream:
            return [event async for event in stream]

    with mistral(runtime, provider) as client:
        streams = []
        for _ in range(2):
            with client.chat.stream(model="m", messages=QUESTION) as stream:
                streams.append(list(stream))
        streams.append(asyncio.run(ask(client)))
    assert streams[0] == streams[1] == streams[2]
    assert len(streams[0]) > 3
    assert len(provider.calls) == 1


def test_azures_client_is_told_apart_by_deployment_version_and_key(
    runtime: Runtime, provider: FakeProvider
) -> None:
    answer = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a"}}]}
    provider.script(*[Answer(body=answer)] * 4)

    def ask(key: str = "k", version: str = "2024-10-21", model: str = "d") -> None:
        with openai.AzureOpenAI(
            azure_endpoint=provider.anthropic_base_url, api_key=key, api_version=version,
            max_retries=0, http_client=runtime.http_client(),
        ) as client:  # fmt: skip
            client.chat.completions.create(model=model, messages=QUESTION)

    for _ in range(2):
        ask()
        ask(key="other")
        ask(version="2025-01-01")
        ask(model="e")
    assert [call.path for call in provider.calls] == [
        "/openai/deployments/d/chat/completions?api-version=2024-10-21",
        "/openai/deployments/d/chat/completions?api-version=2024-10-21",
        "/openai/deployments/d/chat/completions?api-version=2025-01-01",
        "/openai/deployments/e/chat/completions?api-version=2024-10-21",
    ]
    assert [call.headers["api-key"] for call in provider.calls] == ["k", "other", "k", "k"]
