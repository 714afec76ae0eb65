"""Where a stream can no longer be taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.commit import commits
from headgate.types import GENERATE


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


PREAMBLE: list[tuple[str, Any]] = [
    ("chat", chunk(role="assistant")),
    ("chat", chunk(role="assistant", content="")),
    ("chat", chunk(role="assistant", content=None, refusal=None, tool_calls=[])),
    ("chat", chunk()),
    ("chat", {"choices": []}),
    ("chat", {"choices": [{"index": 0, "delta": None, "finish_reason": None}]}),
    ("chat", {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
    ("chat", {"id": "x"}),
    ("completions", {"choices": [{"index": 0, "text": ""}]}),
    ("messages", {"type": "message_start", "message": {"content": []}}),
    ("messages", {"type": "ping"}),
    ("messages", {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}),
    ("responses", {"type": "response.created", "response": {}}),
    ("responses", {"type": "response.queued"}),
    ("responses", {"type": "response.in_progress"}),
    ("responses", {"type": "response.output_item.added", "item": {}}),
    ("responses", {"type": "response.content_part.added", "part": {}}),
    (GENERATE, {"promptFeedback": {}}),
    (GENERATE, {"candidates": []}),
]
CONTENT: list[tuple[str, Any]] = [
    ("chat", chunk(content="P")),
    ("chat", chunk(role="assistant", content="P")),
    ("chat", chunk(content=" ")),
    ("chat", chunk(tool_calls=[{"index": 0, "function": {"name": "f"}}])),
    ("chat", chunk(reasoning_content="hm")),
    ("chat", chunk(refusal="no")),
    ("chat", {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ("chat", {"choices": [{"delta": {}}, {"delta": {"content": "second"}}]}),
    ("completions", {"choices": [{"index": 0, "text": "P"}]}),
    ("messages", {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "P"}}),
    ("messages", {"type": "content_block_delta", "delta": {"type": "thinking_delta"}}),
    ("messages", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
    ("messages", {"type": "message_stop"}),
    ("responses", {"type": "response.output_text.delta", "delta": "P"}),
    ("responses", {"type": "response.function_call_arguments.delta", "delta": "{"}),
    ("responses", {"type": "response.reasoning_summary_text.delta", "delta": "hm"}),
    ("responses", {"type": "response.completed"}),
    (GENERATE, {"candidates": [{"content": {"parts": [{"text": "P"}]}}]}),
]
UNKNOWN: list[tuple[str, Any]] = [
    ("chat", {"choices": [{"delta": {"newly_invented": {"x": 1}}}]}),
    ("chat", {"choices": [{"delta": "text"}]}),
    ("chat", {"choices": ["text"]}),
    ("messages", {"type": "newly_invented"}),
    ("messages", {}),
    ("responses", {"type": "response.newly_invented"}),
    ("chat", [1]),
    ("messages", "text"),
]


def written(event: Any) -> bytes:
    return json.dumps(event).encode()


@pytest.mark.parametrize(("operation", "event"), PREAMBLE)
def test_a_preamble_can_still_be_dropped(operation: str, event: Any) -> None:
    assert not commits(operation, written(event))


@pytest.mark.parametrize(("operation", "event"), CONTENT)
def test_text_tool_calls_thoughts_and_ends_commit(operation: str, event: Any) -> None:
    assert commits(operation, written(event))


@pytest.mark.parametrize(("operation", "event"), UNKNOWN)
def test_what_is_not_known_for_a_preamble_counts_as_content(operation: str, event: Any) -> None:
    assert commits(operation, written(event))


def test_a_comment_commits_nothing_and_a_marker_that_is_no_json_does() -> None:
    assert not commits("chat", b"")
    assert commits("chat", b"[DONE]")


@given(st.binary(max_size=40), st.sampled_from(["chat", "messages", "responses", GENERATE, "?"]))
def test_any_bytes_are_answered(content: bytes, operation: str) -> None:
    assert commits(operation, content) in (True, False)
