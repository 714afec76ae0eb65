"""Runs where LlamaIndex is installed: its OpenAI model over our client."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

from headgate import Runtime
from headgate.testing import Answer, FakeProvider


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        running.script(*[Answer(text="one two three")] * 2)
        yield running


async def test_a_model_over_our_client_asks_once_streams_too(provider: FakeProvider) -> None:
    with Runtime() as runtime:
        clients = {
            "http_client": runtime.http_client(library="httpx"),
            "async_http_client": runtime.http_client(library="httpx", asynchronous=True),
        }
        model = OpenAI(
            "gpt-4o-mini", api_base=provider.base_url, api_key="sk-x", max_retries=0, **clients
        )
        question = [ChatMessage("Count")]
        for _ in range(2):
            assert model.chat(question).message.content == "one two three"
            assert (await model.achat(question)).message.content == "one two three"
            assert "".join(one.delta or "" for one in model.stream_chat(question)) == (
                "one two three"
            )
            stream = await model.astream_chat(question)
            assert "".join([one.delta or "" async for one in stream]) == "one two three"
        assert runtime.stats()["metrics"]["by_model"]["gpt-4o-mini"]["calls"] == 8
        assert [bool(call.body.get("stream")) for call in provider.calls] == [False, True]
        clients["http_client"].close()
        asynchronous = clients["async_http_client"]
        assert isinstance(asynchronous, httpx.AsyncClient)
        await asynchronous.aclose()
