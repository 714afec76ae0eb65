"""Row 11, what tests/faults/test_cut_streams.py (row 9) leaves out: streams that HTTP calls whole
and the dialect does not. Without its terminal marker a stream ends with an error; with its marker,
but without a reason why the answer is over, it is handed on as it came and never kept. What was
said is billed either way.
"""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from events import ends_in, has_failed, is_finished
from lab import PATHS, Lab, fields_for
from rawclient import CHAT, MESSAGES

from headgate.testing import Answer, End, Usual

COMPLETIONS = "/v1/completions"


def without_reason(path: str) -> list[bytes]:
    """A stream of the dialect with all of its ends but the reason."""
    if path == MESSAGES:
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
                   "content": [], "stop_reason": None, "usage": {"input_tokens": 1}}  # fmt: skip
        told: list[Any] = [
            {"type": "message_start", "message": message},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "Pa"},
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "message_stop"},
        ]
        return [spelt(event, event["type"]) for event in told]
    said: dict[str, Any] = {"text": "Pa"} if path == COMPLETIONS else {"delta": {"content": "Pa"}}
    kind = "text_completion" if path == COMPLETIONS else "chat.completion.chunk"
    event = {"id": "x", "object": kind, "created": 1, "model": "m"}
    choice = {"index": 0, "finish_reason": None, **said}
    return [spelt({**event, "choices": [choice]})] * 3 + [b"data: [DONE]\n\n"]


def spelt(event: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(event)}\n\n".encode()


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MESSAGES])
def test_a_stream_that_ends_without_a_reason_is_not_kept(lab: Lab, path: str) -> None:
    for asked in range(1, 4):
        lab.server.script(Answer(chunks=without_reason(path)))
        reply = lab.ask(path, stream=True)
        assert (reply.status, ends_in(reply.body)) == (200, 1)
        assert lab.stored() == 0
        assert len(lab.server.calls) == asked, "whoever asks again asks the provider"
    lab.is_healthy()


@pytest.mark.parametrize("last", [0, 1, 2, 5, -1])
@pytest.mark.parametrize("path", PATHS)
def test_a_stream_without_its_marker_ends_with_an_error_and_is_billed(
    lab: Lab, path: str, last: int
) -> None:
    lab.server.script(Usual(0, last), End())
    reply = lab.ask(path, stream=True)
    assert reply.is_whole, "it was HTTP's end, and is ours"
    assert has_failed(reply.body) or reply.status == 502
    assert not is_finished(reply.body)
    assert lab.stored() == 0
    lab.server.wait_for_ended(1)
    assert lab.server.bill().requests == 1
    lab.is_healthy()


def test_only_the_marker_is_no_answer(lab: Lab) -> None:
    for path in (CHAT, COMPLETIONS):
        lab.server.script(Answer(chunks=[b"data: [DONE]\n\n"]))
        lab.ask(path, stream=True)
    assert lab.stored() == 0
    lab.is_healthy()


def test_the_sdks_raise_where_the_marker_is_missing(lab: Lab) -> None:
    lab.server.script(Usual(0, 4), End(), times=2)
    chat: Any = fields_for(CHAT, stream=True)
    with pytest.raises(openai.APIError):
        list(lab.openai().chat.completions.create(**chat))
    message: Any = fields_for(MESSAGES, stream=True)
    with pytest.raises(anthropic.APIError):
        list(lab.anthropic().messages.create(**message))
