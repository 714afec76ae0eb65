"""The store gate, usage, and names of failures, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.verdict import (
    FINISHES,
    Verdict,
    exception_error,
    is_callers_mistake,
    judge,
    status_error,
    tier_in,
    usage_in,
)
from headgate.errors import StreamBroken, UpstreamTimeout, UpstreamUnreachable
from headgate.types import NO_USAGE, OPERATIONS, Usage

GOOD: dict[str, dict[str, Any]] = {
    "chat": {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a"}}]},
    "completions": {"choices": [{"index": 0, "finish_reason": "stop", "text": "a"}]},
    "responses": {"status": "completed", "error": None, "output": [
        {"type": "message", "content": [{"type": "output_text", "text": "a"}]}]},
    "embeddings": {"data": [{"embedding": [0.1]}]},
    "messages": {"stop_reason": "end_turn", "content": [{"type": "text", "text": "a"}]},
}  # fmt: skip


def verdict_on(operation: str, answer: Any, status: int = 200, *, limited: bool = False) -> Verdict:
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return judge(operation, status, content, limit_explicit=limited)


def choice(finish: Any = "stop", **message: Any) -> dict[str, Any]:
    return {"finish_reason": finish, "message": {"role": "assistant", "content": None, **message}}


def calling(arguments: str, finish: str = "tool_calls") -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return choice(finish, tool_calls=[call])


def incomplete(reason: str) -> dict[str, Any]:
    return {"status": "incomplete", "incomplete_details": {"reason": reason}, "output": []}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_complete_answer_of_every_operation_is_stored(operation: str) -> None:
    assert verdict_on(operation, GOOD[operation]).skip == ""


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("status", "skip"),
    [(201, "status"), (204, "status"), (302, "status_3xx"), (400, "status_4xx"),
     (429, "status_4xx"), (500, "status_5xx"), (529, "status_5xx")],
)  # fmt: skip
def test_only_status_200_is_stored(operation: str, status: int, skip: str) -> None:
    assert verdict_on(operation, GOOD[operation], status).skip == skip


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b'"x"', b"<html>", b"{", b'{"choices": 1, "data": 1, "content": 1}',
     b"\xff", b'{"error":' + b"[" * 100_000],
    ids=lambda content: content[:20],
)  # fmt: skip
def test_an_answer_that_is_not_the_promised_json_is_not_stored(
    operation: str, content: bytes
) -> None:
    assert verdict_on(operation, content).skip != ""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_cut_answer_is_not_stored_wherever_it_was_cut(operation: str) -> None:
    whole = json.dumps(GOOD[operation]).encode()
    for length in range(len(whole)):
        assert verdict_on(operation, whole[:length]).skip != ""


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("error", ["boom", {"message": "boom"}, {"type": "overloaded_error"}])
def test_an_error_inside_a_200_is_not_stored(operation: str, error: Any) -> None:
    assert verdict_on(operation, {**GOOD[operation], "error": error}).skip == "error_in_answer"
    assert verdict_on(operation, {"type": "error", "error": error}).skip == "error_in_answer"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bytes_that_are_no_text_are_found_even_where_the_gate_does_not_look(operation: str) -> None:
    content = json.dumps({**GOOD[operation], "unread": "?"}).encode().replace(b"?", b"\xff")
    assert verdict_on(operation, content).skip == "not_parsed"


@pytest.mark.parametrize("operation", ["count_tokens", "models", "files", ""])
def test_an_answer_of_another_operation_is_not_stored(operation: str) -> None:
    assert verdict_on(operation, GOOD["chat"]).skip == "not_cacheable"


FINISH_CASES = [
    ("chat", "stop", ""),
    ("chat", "tool_calls", ""),
    ("chat", "function_call", ""),
    ("chat", "length", "finish_length"),
    ("chat", "content_filter", "finish_content_filter"),
    ("chat", None, "finish_unknown"),
    ("chat", "", "finish_unknown"),
    ("chat", "insufficient_system_resource", "finish_unknown"),
    ("completions", "stop", ""),
    ("completions", "length", "finish_length"),
    ("completions", "content_filter", "finish_content_filter"),
    ("messages", "end_turn", ""),
    ("messages", "stop_sequence", ""),
    ("messages", "tool_use", ""),
    ("messages", "max_tokens", "finish_max_tokens"),
    ("messages", "refusal", "finish_refusal"),
    ("messages", "pause_turn", "finish_pause_turn"),
    ("messages", "model_context_window_exceeded", "finish_unknown"),
    ("messages", None, "finish_unknown"),
    ("responses", "completed", ""),
    ("responses", "failed", "finish_unknown"),
    ("responses", "in_progress", "finish_unknown"),
    ("responses", "queued", "finish_unknown"),
    ("responses", "cancelled", "finish_unknown"),
    ("responses", "incomplete", "finish_unknown"),
    ("responses", None, "finish_unknown"),
    ("generate", "STOP", ""),
    ("generate", "MAX_TOKENS", "finish_MAX_TOKENS"),
    ("generate", "SAFETY", "finish_SAFETY"),
    ("generate", "RECITATION", "finish_unknown"),
    ("generate", None, "finish_unknown"),
]


def finished(operation: str, finish: Any) -> dict[str, Any]:
    if operation == "generate":
        return {"candidates": [{"finishReason": finish, "content": {"parts": [{"text": "a"}]}}]}
    if operation in ("chat", "completions"):
        return {"choices": [choice(finish)]}
    return {{"messages": "stop_reason", "responses": "status"}[operation]: finish}


@pytest.mark.parametrize(("operation", "finish", "skip"), FINISH_CASES)
def test_each_finish_reason_is_stored_or_skipped_by_the_table(
    operation: str, finish: Any, skip: str
) -> None:
    verdict = verdict_on(operation, finished(operation, finish))
    assert verdict.skip == skip
    assert verdict.finish == (finish or "null")


def test_every_row_of_the_table_is_tested() -> None:
    tested = {finish for _, finish, _ in FINISH_CASES} | {"max_output_tokens"}
    assert set(FINISHES) <= tested


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("chat", {"choices": [choice("length")]}),
        ("completions", {"choices": [choice("length")]}),
        ("messages", {"stop_reason": "max_tokens"}),
        ("responses", incomplete("max_output_tokens")),
    ],
)
def test_a_cut_answer_is_stored_only_if_the_request_asked_for_the_cut(
    operation: str, answer: Any
) -> None:
    assert verdict_on(operation, answer, limited=True).skip == ""
    assert verdict_on(operation, answer).skip in (
        "finish_length", "finish_max_tokens", "finish_max_output_tokens",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "skip"),
    [("content_filter", "finish_content_filter"), ("something_new", "finish_unknown")],
)
def test_another_incompleteness_is_never_stored(reason: str, skip: str) -> None:
    assert verdict_on("responses", incomplete(reason), limited=True).skip == skip


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("chat", {"choices": []}),
        ("chat", {"choices": None}),
        ("chat", {}),
        ("completions", {"choices": []}),
        ("embeddings", {"data": []}),
        ("embeddings", {}),
        ("messages", {}),
        ("responses", {}),
    ],
)
def test_an_answer_without_content_is_not_stored(operation: str, answer: Any) -> None:
    assert verdict_on(operation, answer).skip in ("incomplete", "finish_unknown")


@pytest.mark.parametrize("bad", ["length", "content_filter", None])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_choice_among_several_is_enough(bad: Any, place: int) -> None:
    choices = [choice(), choice(), choice()]
    choices[place] = choice(bad)
    verdict = verdict_on("chat", {"choices": choices})
    assert verdict.skip.startswith("finish_")
    assert set(verdict.finish.split(",")) == {"stop", bad or "null"}


@pytest.mark.parametrize("arguments", ['{"a": ', "{'a': 1}", "not json", "{}}", '{"a": NaN}'])
def test_tool_arguments_that_do_not_parse_are_not_stored(arguments: str) -> None:
    legacy = choice("function_call", function_call={"name": "f", "arguments": arguments})
    call = {"type": "function_call", "name": "f", "arguments": arguments}
    for operation, answer in (
        ("chat", {"choices": [calling(arguments)]}),
        ("chat", {"choices": [choice(), calling(arguments)]}),
        ("chat", {"choices": [calling(arguments, "stop")]}),
        ("chat", {"choices": [legacy]}),
        ("responses", {"status": "completed", "output": [call]}),
    ):
        assert verdict_on(operation, answer).skip == "tool_arguments"


@pytest.mark.parametrize("arguments", ["{}", "", '{"a": [1, "é"]}', '"text"'])
def test_tool_arguments_that_parse_are_stored(arguments: str) -> None:
    assert verdict_on("chat", {"choices": [calling(arguments)]}).skip == ""
    call = {"type": "function_call", "name": "f", "arguments": arguments}
    assert verdict_on("responses", {"status": "completed", "output": [call]}).skip == ""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_answer_that_is_not_utf8_is_not_stored(operation: str) -> None:
    """The SDKs cannot read it: kept, it would fail everyone who asks."""
    good = json.dumps({"note": "x", **GOOD[operation]}).encode()
    assert verdict_on(operation, good.replace(b'"x"', '"é"'.encode())).skip == ""
    assert verdict_on(operation, good.replace(b'"x"', b'"\xe9"')).skip == "not_parsed"


def test_a_free_text_tool_call_has_no_arguments_to_parse() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "f", "input": "not json"}}
    assert verdict_on("chat", {"choices": [choice("tool_calls", tool_calls=[call])]}).skip == ""


def test_arguments_that_came_as_an_object_are_parsed_already() -> None:
    call = {"type": "tool_search_call", "arguments": {"query": "x"}}
    assert verdict_on("responses", {"status": "completed", "output": [call]}).skip == ""


def test_a_refusal_is_not_stored_though_it_ends_with_stop() -> None:
    refusal = {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}
    for operation, answer in (
        ("chat", {"choices": [choice("stop", refusal="No.")]}),
        ("responses", {"status": "completed", "output": [refusal]}),
    ):
        assert verdict_on(operation, answer).skip == "finish_refusal"


OPENAI_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "tier"),
    [
        ({}, ""),
        ({"service_tier": None}, ""),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "Priority"}, "priority"),
        ({"usage": {"service_tier": "standard", "speed": "fast"}}, "fast"),
        ({"usageMetadata": {"trafficType": "ON_DEMAND"}}, "standard"),
        ({"service_tier": ["flex"]}, "other"),
    ],
)
def test_the_tier_is_the_one_the_answer_names(answer: dict[str, Any], tier: str) -> None:
    assert tier_in(json.dumps(answer).encode()) == tier
    assert verdict_on("chat", answer).tier == tier


def test_an_answer_that_cannot_be_read_names_no_tier() -> None:
    assert tier_in(b"[") == ""


@pytest.mark.parametrize("content", [b"", b"[]", b'{"usage": 5}', b'{"usage": {"prompt_tokens": "x"}}'])  # noqa: E501 # fmt: skip
def test_unreadable_usage_is_no_usage(content: bytes) -> None:
    assert usage_in(content) == NO_USAGE


def test_usage_is_read_from_an_answer_that_is_not_stored_too() -> None:
    answer = {"choices": [choice("length")], "usage": OPENAI_USAGE}
    assert verdict_on("chat", answer).usage == Usage(10, 5, 4)


@settings(max_examples=200)
@given(st.sampled_from(OPERATIONS), st.binary(max_size=60), st.booleans())
def test_arbitrary_bytes_are_judged_without_an_exception_and_never_stored(
    operation: str, content: bytes, limited: bool
) -> None:
    assert verdict_on(operation, content, limited=limited).skip != ""


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "bad_request"), (401, "authentication"), (402, "billing"), (403, "permission"),
     (404, "not_found"), (408, "timeout"), (413, "too_large"), (418, "status_418"),
     (422, "bad_request"), (429, "rate_limit"), (500, "server_error"), (502, "server_error"),
     (503, "unavailable"), (504, "timeout"), (529, "overloaded"), (599, "server_error")],
)  # fmt: skip
def test_a_failed_status_has_a_short_name(status: int, name: str) -> None:
    assert status_error(status) == name


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_wrong_request_is_its_callers_mistake(status: int) -> None:
    assert is_callers_mistake(status)


@pytest.mark.parametrize("status", [200, 401, 402, 403, 408, 409, 425, 429, 500, 503, 529])
def test_anything_else_is_not_the_callers_mistake(status: int) -> None:
    assert not is_callers_mistake(status)


class SdkError(Exception):
    """As the official SDKs raise it."""

    def __init__(self, status_code: int) -> None:
        super().__init__("failed")
        self.status_code = status_code


class APITimeoutError(Exception):
    """As the official SDKs name it."""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (SdkError(429), "rate_limit"),
        (SdkError(500), "server_error"),
        (TimeoutError(), "timeout"),
        (APITimeoutError(), "timeout"),
        (ValueError("x"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (UpstreamUnreachable("x"), "upstream_unreachable"),
        (UpstreamTimeout("x", stage="idle"), "timeout"),
        (StreamBroken("x"), "stream_broken"),
    ],
)
def test_an_exception_has_a_short_name(error: BaseException, name: str) -> None:
    assert exception_error(error) == name


def test_an_exception_code_that_is_no_name_is_not_used() -> None:
    error = ValueError("x")
    error.code = "two words\n"  # type: ignore[attr-defined]
    assert exception_error(error) == "ValueError"


def test_an_answer_of_googles_is_judged_by_its_candidates_and_counted_with_its_thoughts() -> None:
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 20,
             "cachedContentTokenCount": 5, "totalTokenCount": 30}  # fmt: skip
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    answer = {
        "candidates": [{"finishReason": "STOP", "content": {"parts": [call]}}],
        "usageMetadata": usage,
    }
    assert verdict_on("generate", answer) == Verdict(
        "", "STOP", Usage(7, 23, 5, tokens_reasoning=20), calls_tools=True
    )
    assert (
        verdict_on("generate", {"promptFeedback": {"blockReason": "SAFETY"}}).skip == "incomplete"
    )
    assert verdict_on("generate", finished("generate", "MAX_TOKENS"), limited=True).skip == ""
    negative = {**answer, "usageMetadata": {"promptTokenCount": -7}}
    assert verdict_on("generate", negative).usage == NO_USAGE
