"""One line as it is asked: key, scope and books are those of the same request to the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobbing import chat, config_at, line, shop

from headgate.config import Config, ProviderConfig
from headgate.layers.settings import CacheConfig
from headgate.testing import Answer, FaultServer, Status


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def test_an_answer_of_the_disk_tier_is_a_hit_too(server: FaultServer, tmp_path: Path) -> None:
    cache = CacheConfig(persist=True, persist_path=str(tmp_path / "cache.db"))

    async def run() -> str:
        async with shop(tmp_path, config_at(server, cache=cache)) as open_shop:
            job = await open_shop.run([line("a", chat("Peru"))])
            return open_shop.ended(job)["a"].state

    assert [asyncio.run(run()) for _ in range(2)] == ["succeeded", "cache_hit"]
    assert len(server.calls) == 1


def test_a_refused_line_fails_with_the_providers_own_words(
    server: FaultServer, tmp_path: Path
) -> None:
    server.script(Status(400, body={"error": {"message": "no such tool", "code": "bad_tool"}}))

    async def run() -> None:
        async with shop(tmp_path, config_at(server), concurrency=1) as open_shop:
            job = await open_shop.run([line("bad", chat(1)), line("good", chat(2))])
            assert (job.state, job.counts) == ("completed", {"failed": 1, "succeeded": 1})
            bad = open_shop.ended(job)["bad"]
            assert (bad.state, bad.status_code, bad.cost_nanos) == ("failed", 400, 0)
            assert json.loads(bad.body)["error"]["code"] == "bad_tool"

    asyncio.run(run())


def test_a_model_that_nobody_serves_any_more_fails_without_being_asked(
    server: FaultServer, tmp_path: Path
) -> None:
    config = Config(
        providers={
            "a": ProviderConfig(base_url=server.base_url),
            "b": ProviderConfig(base_url=server.base_url),
        }
    )

    async def run() -> None:
        async with shop(tmp_path, config) as open_shop:
            job = await open_shop.run([line("r", chat(1))])
            gone = open_shop.ended(job)["r"]
            assert (gone.state, gone.error_code) == ("failed", "model_not_found")

    asyncio.run(run())
    assert server.calls == []


def test_embeddings_and_messages_go_their_own_ways(server: FaultServer, tmp_path: Path) -> None:
    embedding = {"model": "openai/e", "input": "Lima"}
    message = {"model": "anthropic/m", "max_tokens": 9, "messages": chat(1)["messages"]}

    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            vectors = await open_shop.run([line("e", embedding, "/v1/embeddings")])
            messages = await open_shop.run([line("m", message, "/v1/messages")])
            body = json.loads(open_shop.ended(vectors)["e"].body)
            assert body["data"][0]["embedding"]
            assert json.loads(open_shop.ended(messages)["m"].body)["type"] == "message"

    asyncio.run(run())
    assert [call.path for call in server.calls] == ["/v1/embeddings", "/v1/messages"]
    assert server.calls[1].headers["anthropic-version"] == "2023-06-01"


def test_an_answer_of_a_gateway_without_credentials_answers_a_job_of_this_machine(
    server: FaultServer, tmp_path: Path
) -> None:
    """The key and the scope are those that the gateway would make."""

    async def run() -> None:
        async with shop(tmp_path, config_at(server)) as open_shop:
            runtime = open_shop.runtime
            head = runtime.admission.head(((b"content-type", b"application/json"),))
            body = json.dumps(chat("Peru")).encode()
            plan, _ = runtime.find("chat", head, body, b"")
            reply = await runtime.forward("/chat/completions", head, body, plan)
            assert reply.status == 200
            job = await open_shop.run([line("r", chat("Peru"))])
            assert job.counts == {"cache_hit": 1}

    asyncio.run(run())
    assert len(server.calls) == 1


def test_a_whole_answer_is_kept_as_it_came(server: FaultServer, tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "é\n"}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    said = {"id": "x", "object": "chat.completion", "model": "m", "choices": choices}
    body = json.dumps({**said, "usage": usage}, indent=2)
    server.script(Answer(body=body))

    async def run() -> bytes:
        async with shop(tmp_path, config_at(server)) as open_shop:
            job = await open_shop.run([line("r", chat(1))])
            return open_shop.ended(job)["r"].body

    assert asyncio.run(run()) == body.encode()
