"""The backend: whole answers, streams, chains and operations, through the whole engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from backends import (
    CLAUDE,
    FAST,
    STREAM,
    SUMMARISE,
    TITLE,
    ask,
    backend_before,
    got,
    user,
)
from gates import ONE_ATTEMPT

from headgate.backend import PREVIOUS, Chain, Step
from headgate.backend.service import wants_stream
from headgate.layers.settings import CacheConfig
from headgate.testing import Answer, Close, Cut, FakeProvider, FaultServer, Hang, Status, Usual

CHAIN = Chain(
    "text",
    (
        Step("s", SUMMARISE, {"text": PREVIOUS}),
        Step("t", TITLE, {"text": "summary"}),
        Step("again", CLAUDE),
    ),
)


def test_a_model_is_asked_once_and_answers_twice() -> None:
    with FakeProvider() as provider:
        provider.script(Answer(text="Paris"))
        first, second = ask(provider, *[("llm", FAST, user("Capital of France?"))] * 2)
        assert provider.calls[0].body == {
            "model": "fast",
            "messages": [{"role": "system", "content": "Be brief."}, *user("Capital of France?")],
            "temperature": 0.2,
            "max_tokens": 64,
        }
        assert provider.calls[0].headers["authorization"] == "Bearer sk-ours"
        assert len(provider.calls) == 1
    assert first.json.pop("cached") is False
    assert first.json["output"] == second.json["output"] == "Paris"
    assert second.json["cached"] is True
    assert first.json["usage"] == second.json["usage"]
    assert first.json["usage"]["total_tokens"] > 0
    assert first.headers["cache-status"] == "headgate; fwd=miss; stored"
    assert second.headers["cache-status"].startswith("headgate; hit; ttl=")


@pytest.mark.parametrize("llm", [FAST, CLAUDE], ids=["openai", "anthropic"])
def test_a_stream_ends_with_the_whole_and_is_kept_for_both_shapes(llm: Any) -> None:
    with FakeProvider() as provider:
        provider.script(Answer(text="one two three"))
        asked = ("llm", llm, user("Count"))
        streamed, again, whole = ask(provider, (*asked, STREAM), (*asked, STREAM), asked)
        assert len(provider.calls) == 1
    for stream, cached in ((streamed, False), (again, True)):
        *deltas, (name, done) = stream.events
        assert "".join(document["delta"] for _, document in deltas) == "one two three"
        assert (name, done) == ("done", {**whole.json, "cached": cached})
    assert streamed.headers["content-type"].startswith("text/event-stream")


def test_a_whole_answer_is_streamed_from_the_cache() -> None:
    with FakeProvider() as provider:
        asked = ("llm", CLAUDE, user("Count"))
        whole, streamed = ask(provider, asked, (*asked, STREAM))
        assert len(provider.calls) == 1
    assert streamed.events[-1] == ("done", {**whole.json, "cached": True})


def test_equal_calls_at_the_same_time_are_one() -> None:
    async def many(provider: FakeProvider) -> list[Any]:
        async with backend_before(provider) as backend:
            provider.hold()
            tasks = [
                asyncio.create_task(backend.prompt(TITLE, {"text": "x"}, ())) for _ in range(9)
            ]
            await asyncio.to_thread(provider.wait_for_calls, 1)
            provider.release()
            return [await got(served) for served in await asyncio.gather(*tasks)]

    with FakeProvider() as provider:
        replies = asyncio.run(many(provider))
        assert len(provider.calls) == 1
    assert {reply.json["output"] for reply in replies} == {replies[0].json["output"]}


def test_an_argument_is_never_expanded() -> None:
    with FakeProvider() as provider:
        ask(provider, ("prompt", TITLE, {"text": "{{text}} {{other}}"}))
        assert provider.calls[0].body["messages"][-1] == {
            "role": "user", "content": "Title of {{text}} {{other}}",
        }  # fmt: skip


def test_an_answer_of_a_declared_type_is_an_object() -> None:
    with FakeProvider() as provider:
        provider.script(Answer(text='{"summary": "short"}'))
        asked = ("prompt", SUMMARISE, {"text": "long"})
        first, second, streamed = ask(provider, asked, asked, (*asked, STREAM))
        assert provider.calls[0].body["response_format"]["json_schema"]["name"] == "summarise"
        assert len(provider.calls) == 1
    assert first.json["output"] == {"summary": "short"}
    assert second.json == {**first.json, "cached": True}
    assert [name for name, _ in streamed.events] == ["", "done"]
    assert streamed.events[-1][1] == second.json


def test_a_chain_hands_on_what_its_steps_say() -> None:
    with FakeProvider() as provider:
        provider.script(Answer(text='{"summary": "short"}'), Answer(text="A title"))
        asked = ("chain", CHAIN, {"text": "long"})
        first, second, streamed = ask(provider, asked, asked, (*asked, STREAM))
        said = [call.body["messages"][-1]["content"] for call in provider.calls]
    assert said == ["Summarise long", "Title of short", "A title"]
    steps = first.json["steps"]
    assert [(step["name"], step["cached"]) for step in steps] == [
        ("s", False), ("t", False), ("again", False),
    ]  # fmt: skip
    assert [steps[0]["output"], steps[1]["output"]] == [{"summary": "short"}, "A title"]
    assert first.json["output"] == steps[2]["output"]
    total = sum(step["usage"]["total_tokens"] for step in steps)
    assert first.json["usage"]["total_tokens"] == total
    assert second.json["cached"] is True
    assert [name for name, _ in streamed.events] == ["step", "step", "step", "done"]
    assert streamed.events[-1][1] == second.json


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (Status(500), 502, "upstream_error"),
        (Status(401), 502, "upstream_error"),
        (Status(400), 400, "upstream_error"),
        (Status(429), 429, "upstream_error"),
        (Cut(None), 502, "stream_broken"),
    ],
)
@pytest.mark.parametrize("headers", [(), STREAM], ids=["whole", "stream"])
def test_an_error_upstream_is_an_error_here(
    step: Any, status: int, code: str, headers: Any
) -> None:
    with FakeProvider() as provider:
        provider.script(step)
        asked = ("llm", FAST, user("x"), headers)
        failed, fresh = ask(provider, asked, asked)
    assert (failed.status, failed.json["error"]["code"]) == (status, code)
    assert fresh.status == 200


def test_an_error_in_a_later_step_ends_the_stream_of_a_chain() -> None:
    with FakeProvider() as provider:
        provider.script(Answer(text='{"summary": "short"}'), Status(500))
        whole_asked = ("chain", CHAIN, {"text": "long"})
        (streamed,) = ask(provider, (*whole_asked, STREAM))
        provider.script(Answer(text='{"summary": "short"}'), Status(500))
        (whole,) = ask(provider, whole_asked)
    assert [name for name, _ in streamed.events] == ["step", "error"]
    assert whole.status == 502


def test_a_stream_that_breaks_says_so() -> None:
    with FaultServer() as server:
        server.script(Usual(0, 4), Close())
        (broken,) = ask(server, ("llm", FAST, user("x"), STREAM))
    assert broken.events[-1][0] == "error"
    assert broken.events[-1][1]["error"]["code"] == "stream_broken"


def test_a_stream_that_nobody_reads_is_let_go_of() -> None:
    async def leave(provider: FakeProvider) -> None:
        alone = {**ONE_ATTEMPT, "cache": CacheConfig(finish_within=0)}
        async with backend_before(provider, alone) as backend:
            served = await backend.llm(FAST, user("x"), STREAM)
            assert not isinstance(served.body, bytes)
            await served.body.aclose()
            await served.body.aclose()
            await asyncio.to_thread(provider.wait_for_abandoned, 1)

    with FakeProvider() as provider:
        provider.script(Hang(600))
        asyncio.run(leave(provider))


def test_the_controls_of_the_gateway_count_and_credentials_of_clients_go_nowhere() -> None:
    with FakeProvider() as provider:
        asked = ("llm", FAST, user("x"))
        private = ((b"cache-control", b"no-store"), (b"authorization", b"Bearer theirs"))
        ask(provider, (*asked, private), (*asked, private), asked, (*asked, private[1:]))
        assert len(provider.calls) == 3
        assert {call.headers["authorization"] for call in provider.calls} == {"Bearer sk-ours"}
        refused = ask(provider, (*asked, ((b"headgate-tll", b"1"),)))[0]
    assert (refused.status, refused.json["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("accept", "streams"),
    [(b"text/event-stream", True), (b"application/json, Text/Event-Stream;q=1", True), (b"*/*", 0)],
)
def test_a_stream_is_asked_for_by_name(accept: bytes, streams: bool) -> None:
    assert wants_stream(((b"accept", accept),)) == streams


def test_numbers_and_administration_are_those_of_the_gateway() -> None:
    def scope(method: str, path: str, client: str = "127.0.0.1") -> dict[str, Any]:
        headers = [(b"host", b"127.0.0.1")]
        return {"method": method, "path": path, "headers": headers, "query_string": b"",
                "client": (client, 1)}  # fmt: skip

    async def look(provider: FakeProvider) -> list[Any]:
        async with backend_before(provider) as backend:
            await backend.llm(FAST, user("x"), ())
            asked = [
                scope("GET", "/healthz"),
                scope("GET", "/readyz"),
                scope("GET", "/metrics"),
                scope("GET", "/api/metrics/llm"),
                scope("POST", "/api/admin/clear-cache"),
                scope("POST", "/api/admin/clear-cache", "10.0.0.1"),
                scope("GET", "/nowhere"),
            ]
            return [await got(await backend.operate(one)) for one in asked]

    with FakeProvider() as provider:
        health, ready, metrics, numbers, cleared, stranger, nowhere = asyncio.run(look(provider))
    assert (health.status, ready.status, metrics.status) == (200, 200, 200)
    assert b"llm_calls" in metrics.body
    assert numbers.json["metrics"]["by_model"]["fast"]["calls"] == 1
    assert cleared.json == {"status": "cleared", "entries_removed": 1}
    assert (stranger.status, nowhere.status) == (401, 404)
