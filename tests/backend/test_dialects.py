"""Questions and answers in the dialects of their providers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from backends import CLAUDE, FAST, SCHEMA, user

from headgate.backend.declared import Llm
from headgate.backend.dialects import Listener, question, said
from headgate.core.sse import split
from headgate.errors import BadRequest, UpstreamFailed, UpstreamGarbled
from headgate.providers.fake import fake_reply
from headgate.types import Usage


def asked(llm: Llm, *messages: dict[str, str], **more: Any) -> Any:
    return json.loads(question(llm, messages, **more).body)


def test_a_question_to_openai_has_everything_in_its_place() -> None:
    assert asked(FAST, *user("x"), name="n", schema=SCHEMA, streamed=True) == {
        "model": "fast",
        "messages": [{"role": "system", "content": "Be brief."}, *user("x")],
        "temperature": 0.2,
        "max_tokens": 64,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
        },
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_question_to_anthropic_has_everything_in_its_place() -> None:
    assert asked(CLAUDE, *user("x"), name="n", schema=SCHEMA, streamed=True) == {
        "model": "claude",
        "max_tokens": 4096,
        "system": "Be kind.",
        "messages": user("x"),
        "top_k": 3,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "stream": True,
    }
    headers = dict(question(CLAUDE, user("x")).headers)
    assert headers[b"anthropic-version"] == b"2023-06-01"


def test_a_text_that_is_none_is_refused() -> None:
    for llm in (FAST, CLAUDE):
        with pytest.raises(BadRequest, match="surrogate"):
            question(llm, user("\ud800"))


def test_a_system_prompt_in_the_messages_replaces_that_of_the_model() -> None:
    own = {"role": "system", "content": "Mine."}
    assert asked(FAST, own, *user("x"))["messages"] == [own, *user("x")]
    assert asked(CLAUDE, own, own, *user("x"))["system"] == "Mine.\n\nMine."
    assert "system" not in asked(Llm("m", "anthropic"), *user("x"))


@pytest.mark.parametrize("llm", [FAST, CLAUDE], ids=["openai", "anthropic"])
def test_whole_answers_and_streams_say_the_same(llm: Llm) -> None:
    whole, streamed = (
        question(llm, user("Count"), streamed=is_streamed) for is_streamed in (False, True)
    )
    expected = said(whole.operation, fake_reply(whole.operation, whole.body, text="a b").content)
    listener = Listener(streamed.operation)
    events = split(fake_reply(streamed.operation, streamed.body, text="a b").content)
    heard = "".join(listener.hear(event) for event in events)
    assert heard == "a b"
    assert listener.said() == expected
    assert expected.model == llm.model
    assert expected.usage.tokens_in > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "the model answered without text"),
        (b'{"choices": [{"message": {"content": null}}]}', "the model answered without text"),
        (
            b'{"choices": [{"message": {"content": null, "refusal": "no"}}]}',
            "the model refused: no",
        ),
        (b"[", "the provider's answer cannot be read"),
        (b"\xff", "the provider's answer cannot be read"),
    ],
)
def test_an_answer_without_text_is_an_error(content: bytes, message: str) -> None:
    with pytest.raises(UpstreamFailed, match=message):
        said("chat", content)


def test_an_answer_of_tools_alone_is_an_error() -> None:
    with pytest.raises(UpstreamFailed, match="without text"):
        said("messages", b'{"content": [{"type": "tool_use", "name": "x"}]}')
    assert said("messages", b'{"content": [{"type": "text", "text": ""}]}').text == ""


@pytest.mark.parametrize("event", [b'data: {"error": {}}\n\n', b"event: error\ndata: {}\n\n"])
def test_an_error_in_a_stream_is_an_error(event: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="broke the answer off"):
        Listener("chat").hear(event)


def test_an_event_that_cannot_be_read_is_an_error() -> None:
    for operation in ("chat", "messages"):
        with pytest.raises(UpstreamGarbled):
            Listener(operation).hear(b"data: {\n\n")


def test_what_says_nothing_is_passed_over() -> None:
    listener = Listener("chat")
    events = (b": ping\n\n", b"data: [DONE]\n\n", b'data: {"choices": []}\n\n',
              b'data: {"choices": [{"delta": {"content": null}}]}\n\n')  # fmt: skip
    assert [listener.hear(event) for event in events] == [""] * 4
    assert listener.said().usage == Usage()
