"""What must not be kept is not: every call of its kind goes upstream, and each answer that was not
kept is counted with its reason, where operators and their Prometheus look.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from core.events import (
    STARTED,
    STOPPED,
    block,
    called,
    chunk,
    ended,
    response,
    said,
)
from core.shaping import spelt
from dialects import question, streamed
from e2e.asking import Asking, asking, hit
from prometheus_client.parser import text_string_to_metric_families

from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.providers.fake import fake_reply
from headgate.testing import Answer, Cut, Hang, Status, Step

NOTHING: Mapping[str, Any] = MappingProxyType({})
ENTRY_MAX_BYTES = 20_000
CACHE = CacheConfig(
    entry_max_bytes=ENTRY_MAX_BYTES,
    models={
        "off": ModelCacheConfig(enabled=False),
        "cold": ModelCacheConfig(temperature_max=0.5),
        "toolless": ModelCacheConfig(tool_calls=False),
        "strict": ModelCacheConfig(truncated=False),
    },
)


@pytest.fixture(scope="module")
def ask() -> Iterator[Asking]:
    with asking(CACHE, idle_timeout=3.0) as made:
        yield made


class Asked(NamedTuple):
    """A request that may not be answered from the cache, in either shape."""

    reason: str
    operation: str
    more: dict[str, Any]
    headers: Mapping[str, str] = NOTHING


def part(kind: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": kind, **more}]}]}


SEARCH = {"type": "web_search_20250305", "name": "web_search"}
REQUESTS = [
    Asked("background", "responses", {"background": True}),
    Asked("server_state", "responses", {"store": True}),
    Asked("server_state", "responses", {"previous_response_id": "resp_1"}),
    Asked("server_state", "responses", {"conversation": "conv_1"}),
    Asked("server_state", "responses", {"prompt": {"id": "pmpt_1"}}),
    Asked("server_state", "chat", {"store": True}),
    Asked("server_state", "messages", {"container": "container_1"}),
    Asked("hosted_tools", "responses", {"tools": [{"type": "web_search"}]}),
    Asked("hosted_tools", "responses", {"tools": [{"type": "mcp", "server_label": "s"}]}),
    Asked("hosted_tools", "chat", {"web_search_options": {}}),
    Asked("hosted_tools", "messages", {"tools": [SEARCH]}),
    Asked("hosted_tools", "messages", {"mcp_servers": [{"type": "url", "name": "s"}]}),
    Asked("remote_media", "chat", part("image_url", image_url={"url": "https://x/y.png"})),
    Asked("remote_media", "messages", part("image", source={"type": "url", "url": "https://x/y"})),
    Asked("remote_media", "messages", part("document", source={"file_id": "file_1"})),
    Asked("temperature", "chat", {"model": "cold"}),
    Asked("temperature", "messages", {"model": "cold", "temperature": 0.6}),
    Asked("disabled", "chat", {"model": "off"}),
    Asked("no_store", "chat", {}, {"cache_control": "no-store"}),
    Asked("no_store", "messages", {}, {"cache_control": "no-store"}),
]


def by_reason(value: Any) -> str:
    return f"{value.reason}-{value.operation}-{str(value[2])[:30]}"


@pytest.mark.parametrize("shape", [question, streamed], ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("asked", REQUESTS, ids=by_reason)
def test_a_request_that_may_not_be_answered_from_the_cache_is_asked_every_time(
    ask: Asking, asked: Asked, shape: Any
) -> None:
    text = ask.fresh()
    body = {**shape(asked.operation, text), **asked.more}
    before = ask.not_stored().get(asked.reason, 0)
    size = ask.gate.stats()["cache"]["size"]
    with ask.upstream(3):
        replies = [ask.post(asked.operation, body, **asked.headers) for _ in range(3)]
    assert {got.status for got in replies} == {200}
    assert {got.headers["cache-status"] for got in replies} == {"headgate; fwd=bypass"}
    assert ask.not_stored()[asked.reason] == before + 3
    assert ask.gate.stats()["cache"]["size"] == size


class Answered(NamedTuple):
    """An answer that may not be kept, whole or (bytes) streamed."""

    reason: str
    operation: str
    content: Any
    """A value or the bytes of a stream; or a step of the provider."""
    more: Mapping[str, Any] = NOTHING


def choice(finish: Any, **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "x", **message}
    return {"choices": [{"index": 0, "finish_reason": finish, "message": said}]}


def calling(arguments: str) -> list[dict[str, Any]]:
    return [{"id": "c", "type": "function", "function": {"name": "find", "arguments": arguments}}]


def message(stop: Any) -> dict[str, Any]:
    return {"type": "message", "stop_reason": stop, "content": [{"type": "text", "text": "x"}]}


def chat(*events: Any) -> bytes:
    return spelt(*events, done=True)


def messages(stop: Any) -> bytes:
    return spelt(STARTED, *block({"type": "text_delta", "text": "x"}), ended(stop), STOPPED)


NO_LIMIT = {"max_completion_tokens": None, "max_tokens": None, "max_output_tokens": None}
CUT = {"incomplete_details": {"reason": "max_output_tokens"}}
FILTERED = {"incomplete_details": {"reason": "content_filter"}}
REFUSED = chat(chunk(said(refusal="No.")), chunk(said(finish="stop")))
LARGE = "x" * ENTRY_MAX_BYTES
ANSWERS = [
    Answered("finish_length", "chat", choice("length"), NO_LIMIT),
    Answered("finish_length", "chat", chat(chunk(said(finish="length"))), NO_LIMIT),
    Answered("finish_length", "chat", choice("length"), {"model": "strict"}),
    Answered("finish_length", "chat", chat(chunk(said(finish="length"))), {"model": "strict"}),
    Answered("finish_length", "completions", choice("length"), NO_LIMIT),
    Answered("finish_max_output_tokens", "responses",
             {"status": "incomplete", "output": [], **CUT}, NO_LIMIT),
    Answered("finish_max_output_tokens", "responses", spelt(response("incomplete", **CUT)),
             NO_LIMIT),
    Answered("finish_max_tokens", "messages", messages("max_tokens"), {"model": "strict"}),
    Answered("finish_content_filter", "chat", choice("content_filter")),
    Answered("finish_content_filter", "chat", chat(chunk(said(finish="content_filter")))),
    Answered("finish_content_filter", "responses", spelt(response("incomplete", **FILTERED))),
    Answered("finish_refusal", "chat", choice("stop", refusal="No.")),
    Answered("finish_refusal", "chat", REFUSED),
    Answered("finish_refusal", "messages", message("refusal")),
    Answered("finish_refusal", "messages", messages("refusal")),
    Answered("finish_pause_turn", "messages", message("pause_turn")),
    Answered("finish_pause_turn", "messages", messages("pause_turn")),
    Answered("finish_unknown", "chat", choice("eos_token")),
    Answered("finish_unknown", "chat", chat(chunk(said(finish="eos_token")))),
    Answered("finish_unknown", "chat", choice(None)),
    Answered("finish_unknown", "chat", chat(chunk(said(content="x")))),
    Answered("finish_unknown", "messages", messages("model_context_window_exceeded")),
    Answered("finish_unknown", "responses", {"status": "queued", "output": []}),
    Answered("incomplete", "chat", chat(chunk(said(0, "stop"))), {"n": 2}),
    Answered("incomplete", "messages", spelt(STARTED, block()[0], ended("end_turn"), STOPPED)),
    Answered("tool_arguments", "chat", choice("tool_calls", tool_calls=calling('{"city": "Par'))),
    Answered("tool_arguments", "chat", chat(called('{"city": '), chunk(said(finish="tool_calls")))),
    Answered("tool_calls", "chat", choice("tool_calls", tool_calls=calling("{}")),
             {"model": "toolless"}),
    Answered("tool_calls", "chat", chat(called("{}"), chunk(said(finish="tool_calls"))),
             {"model": "toolless"}),
    Answered("error_in_answer", "chat", {"error": {"message": "overloaded"}}),
    Answered("error_in_answer", "chat", spelt(chunk(said(content="x")), {"error": {"code": 1}})),
    Answered("status_5xx", "messages",
             spelt(STARTED, {"type": "error", "error": {"type": "overloaded_error"}})),
    Answered("status_5xx", "responses",
             spelt(response("failed", error={"code": "server_error", "message": "boom"}))),
    Answered("too_large", "chat", choice("stop", content=LARGE)),
    Answered("too_large", "chat", chat(chunk(said(content=LARGE)), chunk(said(finish="stop")))),
    Answered("stream_broken", "chat", spelt(chunk(said(content="x")), chunk(said(finish="stop")))),
    Answered("stream_broken", "messages", spelt(STARTED, *block(), ended("end_turn"))),
    Answered("status_4xx", "chat", Status(429)),
    Answered("status_5xx", "chat", Status(503)),
    Answered("status", "chat", Answer(status=201)),
]  # fmt: skip


def step_of(answered: Answered) -> Step:
    content = answered.content
    if isinstance(content, Answer | Status):
        return content
    is_stream = isinstance(content, bytes) and content.startswith((b"data:", b"event:"))
    return Answer(chunks=[content]) if is_stream else Answer(body=content)


@pytest.mark.parametrize("answered", ANSWERS, ids=by_reason)
def test_an_answer_that_may_not_be_kept_is_not_and_is_counted(
    ask: Asking, answered: Answered
) -> None:
    step, text = step_of(answered), ask.fresh()
    is_stream = isinstance(step, Answer) and bool(step.chunks)
    shape = streamed if is_stream else question
    body = {**shape(answered.operation, text), **answered.more}
    body = {name: value for name, value in body.items() if value is not None}
    before = ask.not_stored().get(answered.reason, 0)
    with ask.upstream(3, step, step):
        replies = [ask.post(answered.operation, body) for _ in range(3)]
    assert replies[0].body == replies[1].body
    assert not any(hit(got) for got in replies)
    assert ask.not_stored()[answered.reason] == before + 2


@pytest.mark.parametrize(
    "content",
    [
        {"choices": []}, b"<html>busy</html>",
        b'{"choices": [{"finish_reason": "stop", "x": "\xff"}]}', b"data: {nonsense\n\n",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_and_not_kept(ask: Asking, content: Any) -> None:
    step = step_of(Answered("", "chat", content))
    is_stream = isinstance(step, Answer) and bool(step.chunks)
    body = (streamed if is_stream else question)("chat", ask.fresh())
    with ask.upstream(2, step, step):
        replies = [ask.post("chat", body) for _ in range(2)]
    assert [got.json["error"]["code"] for got in replies] == ["upstream_garbled"] * 2


@pytest.mark.parametrize(
    ("reason", "step"), [("stream_broken", Cut(600)), ("upstream_timeout", Hang(600))]
)
def test_a_stream_that_broke_is_counted_with_what_broke_it(
    ask: Asking, reason: str, step: Step
) -> None:
    text = ask.fresh()
    before = ask.not_stored().get(reason, 0)
    with ask.upstream(2, step):
        replies = [ask.post("chat", streamed("chat", text)) for _ in range(2)]
    assert reason.encode() in replies[0].body
    assert not any(hit(got) for got in replies)
    assert ask.not_stored()[reason] == before + 1


@pytest.mark.parametrize(("asked", "said"), [(streamed, question), (question, streamed)])
def test_an_answer_of_the_shape_that_was_not_asked_for_is_counted_and_not_kept(
    ask: Asking, asked: Any, said: Any
) -> None:
    text = ask.fresh()
    other = fake_reply("messages", json.dumps(said("messages", text)).encode()).pieces
    step = Answer(body=other[0]) if said is question else Answer(chunks=other)
    before = ask.not_stored().get("shape", 0)
    with ask.upstream(2, step):
        replies = [ask.post("messages", asked("messages", text)) for _ in range(2)]
    assert replies[0].body == b"".join(other), "it is handed on all the same"
    assert not hit(replies[1])
    assert ask.not_stored()["shape"] == before + 1


def test_every_reason_is_told_to_prometheus_as_to_the_operations_route(ask: Asking) -> None:
    ask.post("chat", question("chat", store=True))
    scraped = ask.gate.get("/metrics", {"accept": "text/plain"}).body.decode()
    samples = {
        sample.labels["reason"]: sample.value
        for family in text_string_to_metric_families(scraped)
        for sample in family.samples
        if sample.name == "headgate_cache_store_skipped_total"
    }
    assert samples == ask.not_stored()
    assert samples["server_state"] >= 1


POLICIES = {
    "server_state": {"store": True},
    "hosted_tools": {"web_search_options": {}},
    "remote_media": part("image_url", image_url={"url": "https://x/y.png"}),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_an_operator_may_keep_it_all_the_same_for_one_model(policy: str) -> None:
    models = {"trusted": ModelCacheConfig(**{policy: True})}
    with asking(CacheConfig(models=models)) as ask:
        for model, calls in (("trusted", 1), ("other", 2)):
            body = {**streamed("chat"), **POLICIES[policy], "model": model}
            with ask.upstream(calls):
                replies = [ask.post("chat", body) for _ in range(2)]
            assert hit(replies[1]) == (model == "trusted")


def test_an_operator_may_keep_refusals_for_a_while() -> None:
    with asking(CacheConfig(refusal_ttl=60)) as ask:
        with ask.upstream(1, Answer(chunks=[REFUSED])):
            first, second = (ask.post("chat", streamed("chat")) for _ in range(2))
        assert first.body == second.body
        assert second.headers["cache-status"] in ("headgate; hit; ttl=60", "headgate; hit; ttl=59")
        assert json.loads(first.body.split(b"\n")[0][6:])["choices"][0]["delta"]["refusal"] == "No."
