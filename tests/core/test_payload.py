"""Told apart: no answer at all, and one that is merely not kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.payload import is_no_answer
from headgate.core.verdict import judge
from headgate.types import GENERATE, OPERATIONS

CHOICE = {"index": 0, "message": {"content": "Paris"}, "finish_reason": "stop"}


def no_answer(content: bytes, operation: str = "chat", *, streamed: bool = False) -> bool:
    verdict = judge(operation, 200, content, limit_explicit=False)
    return is_no_answer(operation, verdict, content, streamed=streamed)


NONE = [b"", b"<html>log in</html>", b'{"choices":[{"in', b"[]", b'"Paris"', b"null", b"5",
        b'{"choices":[{"message":{"content":"\xff"}}]}', b"[" * 100_000,
        b'{"choices":[]}'.replace(b'"', b"'")]  # fmt: skip


@pytest.mark.parametrize("operation", [*OPERATIONS, GENERATE])
@pytest.mark.parametrize("content", NONE, ids=lambda content: repr(content[:12]))
def test_what_is_no_json_object_is_no_answer_of_any_dialect(operation: str, content: bytes) -> None:
    assert no_answer(content, operation)


@pytest.mark.parametrize("operation", ["chat", "completions"])
@pytest.mark.parametrize("choices", [[], None, {}, "x", 0])
def test_a_completion_without_a_choice_is_none(operation: str, choices: Any) -> None:
    assert no_answer(json.dumps({"choices": choices}).encode(), operation)
    assert no_answer(b"{}", operation)


ANSWERS = {
    "complete": {"choices": [CHOICE]},
    "cut": {"choices": [{**CHOICE, "finish_reason": "length"}]},
    "refused": {"choices": [{**CHOICE, "finish_reason": "content_filter"}]},
    "no finish": {"choices": [{"message": {}}]},
    "broken tool arguments": {"choices": [{
        "finish_reason": "tool_calls", "message": {"tool_calls": [{"function": {"arguments": "{"}}]}
    }]},
    "numbers where names are due": {"choices": [{"finish_reason": 5}]},
    "an error": {"error": {"message": "overloaded"}},
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_what_is_not_kept_is_an_answer_all_the_same(answer: Any) -> None:
    assert not no_answer(json.dumps(answer).encode())


@pytest.mark.parametrize("operation", ["messages", "responses", "embeddings", GENERATE])
def test_only_completions_have_choices(operation: str) -> None:
    assert not no_answer(b'{"unknown":1}', operation)


@pytest.mark.parametrize("operation", ["count_tokens", "function", "models"])
def test_what_we_know_no_dialect_of_is_not_judged(operation: str) -> None:
    assert not no_answer(b"<html>", operation)


@given(st.binary(max_size=40), st.sampled_from([*OPERATIONS, GENERATE]))
def test_any_bytes_are_judged_and_an_answer_is_always_a_json_object(
    content: bytes, operation: str
) -> None:
    if not no_answer(content, operation):
        assert isinstance(json.loads(content), dict)


@pytest.mark.parametrize("content", [b"data: {}\n\n", b"event: ping\n\n", b": ping\n\n"])
def test_events_under_another_name_are_an_answer_where_a_stream_was_asked_for(
    content: bytes,
) -> None:
    assert not no_answer(content, streamed=True)
    assert no_answer(content)
    assert no_answer(b"<html>", streamed=True)
