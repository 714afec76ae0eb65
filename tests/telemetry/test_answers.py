"""What a span says of an answer, in each dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from headgate.core.inspection import inspect
from headgate.core.verdict import judge
from headgate.errors import StreamBroken
from headgate.events import Events
from headgate.stream import Chunks, Whole
from headgate.telemetry.answers import about, used
from headgate.types import Call, Reply, Target, Usage, WireRequest

CHAT = {"model": "m-1", "choices": [{"finish_reason": "length", "message": {"content": "x"}}]}
MESSAGE = {"model": "m-1", "type": "message", "stop_reason": "max_tokens", "content": []}
GENERATED = {"modelVersion": "m-1", "candidates": [{"finishReason": "STOP"}]}


def call(operation: str) -> Call:
    request = WireRequest("/", b"{}", ())
    return Call(operation, "m", request, b"", b"", Target("p", "m"))


def whole(operation: str, fields: Any) -> Reply:
    content = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    verdict = judge(operation, 200, content, limit_explicit=False)
    return Reply(200, (), Whole(content, verdict), verdict.usage)


@pytest.mark.parametrize(
    ("operation", "fields", "finish"),
    [
        ("chat", CHAT, "length"),
        ("messages", MESSAGE, "max_tokens"),
        ("generate", GENERATED, "STOP"),
    ],
)
def test_model_and_finish_of_a_whole_answer(operation: str, fields: Any, finish: str) -> None:
    said = about(call(operation), whole(operation, fields))
    assert said["gen_ai.response.model"] == "m-1"
    assert said["gen_ai.response.finish_reasons"] == (finish,)


@pytest.mark.parametrize("fields", [b"", b"{", b"[1]", b"\xff", {"model": 7}, {"model": None}])
def test_an_answer_without_a_name_has_none(fields: Any) -> None:
    assert "gen_ai.response.model" not in about(call("chat"), whole("chat", fields))


def test_a_name_is_cut() -> None:
    said = about(call("chat"), whole("chat", {**CHAT, "model": "x" * 9_000}))
    assert said["gen_ai.response.model"] == "x" * 200


def test_what_nobody_has_judged_says_nothing() -> None:
    assert about(call("chat"), Reply(500, (), Whole(b'{"model": "m"}'))) == {}


@pytest.mark.parametrize(
    ("operation", "first"),
    [("chat", {"model": "m-1", "choices": []}),
     ("messages", {"type": "message_start", "message": {"model": "m-1"}}),
     ("responses", {"type": "response.created", "response": {"model": "m-1"}})],
)  # fmt: skip
def test_a_stream_names_its_model_in_its_first_event(operation: str, first: Any) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b": ping\n\n"
        name = first.get("type", "message").encode()
        yield b"event: " + name + b"\ndata: " + json.dumps(first).encode() + b"\n\n"

    async def looked_at() -> Reply:
        inspection = inspect(operation)
        assert inspection is not None
        events = Events(operation, Chunks(pieces()), inspection, 10_000)
        with suppress(StreamBroken):
            await events.open()
        return Reply(200, (), events)

    said = about(call(operation), asyncio.run(looked_at()))
    assert said["gen_ai.response.model"] == "m-1"


def test_tokens_hold_what_came_from_the_providers_cache() -> None:
    usage = Usage(100, 20, 60, 10, 0, 7)
    assert used(Reply(200, (), Whole(b""), usage)) == {
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_creation.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 7,
    }
    assert used(Reply(200, (), Whole(b"{}"))) == {}
