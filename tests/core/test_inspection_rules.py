"""The store gate over streams of every dialect, and what no dialect has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from core.asked import STREAMED
from core.events import (
    DONE,
    GOOD,
    STARTED,
    STOPPED,
    begun,
    block,
    called,
    chunk,
    ended,
    finished,
    response,
    said,
    verdict_on,
)

from headgate.core.inspection import PLAIN
from headgate.core.verdict import FINISHES
from headgate.errors import UpstreamGarbled

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
    ("responses", "in_progress", "finish_unknown"),
    ("responses", "cancelled", "finish_unknown"),
    ("responses", "incomplete", "finish_unknown"),
    ("generate", "STOP", ""),
    ("generate", "MAX_TOKENS", "finish_MAX_TOKENS"),
    ("generate", "SAFETY", "finish_SAFETY"),
    ("generate", "RECITATION", "finish_unknown"),
]


@pytest.mark.parametrize(("operation", "finish", "skip"), FINISH_CASES)
def test_each_finish_reason_is_stored_or_skipped_by_the_table(
    operation: str, finish: Any, skip: str
) -> None:
    verdict = verdict_on(operation, *finished(operation, finish))
    assert verdict.skip == skip
    assert verdict.finish == (finish or "null")


def test_every_row_of_the_table_is_tested() -> None:
    tested = {finish for _, finish, _ in FINISH_CASES} | {"max_output_tokens"}
    assert set(FINISHES) <= tested


@pytest.mark.parametrize(
    ("operation", "events"),
    [
        ("chat", finished("chat", "length")),
        ("completions", finished("completions", "length")),
        ("messages", finished("messages", "max_tokens")),
        ("responses", [response("incomplete", incomplete_details={"reason": "max_output_tokens"})]),
    ],
)
def test_a_cut_answer_is_stored_only_if_the_request_asked_for_the_cut(
    operation: str, events: list[Any]
) -> None:
    assert verdict_on(operation, *events, limited=True).skip == ""
    assert verdict_on(operation, *events).skip.startswith("finish_max_") or operation in (
        "chat", "completions",
    )  # fmt: skip
    assert verdict_on(operation, *events).skip != ""


PIECES = [
    (['{"a"', ": 1}"], ""),
    (["", "{}"], ""),
    ([""], ""),
    ([], ""),
    (['{"a": '], "tool_arguments"),
    (["{}", "{}"], "tool_arguments"),
    (["[" * 100_000], "tool_arguments"),
]


@pytest.mark.parametrize(("pieces", "skip"), PIECES)
def test_the_pieces_of_a_tool_call_must_make_json(pieces: list[str], skip: str) -> None:
    end = [chunk(said(finish="tool_calls")), DONE]
    assert verdict_on("chat", *map(called, pieces), *end).skip == skip
    legacy = [chunk(said(function_call={"arguments": piece})) for piece in pieces]
    assert verdict_on("chat", *legacy, *end).skip == skip
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    use = block(*deltas, kind="tool_use")
    assert verdict_on("messages", STARTED, *use, ended("tool_use"), STOPPED).skip == skip
    item = {"type": "function_call", "arguments": "".join(pieces)}
    done = {"type": "response.output_item.done", "item": item}
    assert verdict_on("responses", done, response("completed")).skip == skip
    assert verdict_on("responses", response("completed", output=[item])).skip == skip


def test_a_free_text_tool_call_has_no_arguments_to_parse() -> None:
    free = chunk(said(tool_calls=[{"index": 0, "type": "custom", "custom": {"input": "x"}}]))
    assert verdict_on("chat", free, chunk(said(finish="tool_calls")), DONE).skip == ""
    hosted = {"type": "tool_search_call", "arguments": {"query": "x"}}
    done = {"type": "response.output_item.done", "item": hosted}
    assert verdict_on("responses", done, response("completed", output=[hosted])).skip == ""


def test_a_refusal_is_not_stored_though_it_ends_well() -> None:
    part = {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}
    for operation, events in (
        ("chat", [chunk(said(refusal="N")), chunk(said(refusal="o.")), *GOOD["chat"]]),
        ("responses", [{"type": "response.refusal.delta", "delta": "No."}, *GOOD["responses"]]),
        ("responses", [{"type": "response.refusal.done", "refusal": "No"}, *GOOD["responses"]]),
        ("responses", [{"type": "response.output_item.done", "item": part}, *GOOD["responses"]]),
        ("responses", [response("completed", output=[part])]),
    ):
        verdict = verdict_on(operation, *events)
        assert (verdict.skip, verdict.finish) == ("finish_refusal", "refusal")


GARBLED = ["{", "null", "[]", "5", '"x"', "<html>", "[DONE", "[DONE]]", "[" * 100_000]
OF_NO_DIALECT = [
    ("chat", {"choices": "x"}),
    ("chat", {"choices": [5]}),
    ("chat", {"choices": [{"index": "0"}]}),
    ("chat", {"choices": [{"delta": "x"}]}),
    ("chat", {"choices": [{"finish_reason": 5}]}),
    ("completions", {"choices": {}}),
    ("messages", {"type": 5}),
    ("messages", {"index": "x"}),
    ("messages", {"type": "message_start", "message": "x"}),
    ("messages", {"type": "message_delta", "delta": {"stop_reason": 5}}),
    ("messages", {"type": "content_block_delta", "index": "x"}),
    ("responses", {"type": 5}),
    ("responses", {"type": "response.completed"}),
    ("responses", {"type": "response.completed", "response": "x"}),
    ("responses", {"type": "response.completed", "response": {"output": "x"}}),
    ("responses", {"type": "response.output_item.done", "item": 5}),
    ("responses", {"type": "response.refusal.delta", "delta": 5}),
]


@pytest.mark.parametrize(
    ("operation", "event"),
    [(operation, event) for operation in STREAMED for event in GARBLED] + OF_NO_DIALECT,
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_of_the_dialect_is_garbled(operation: str, event: Any) -> None:
    inspection = begun(operation)
    with pytest.raises(UpstreamGarbled):
        inspection.read(b"", (event if isinstance(event, str) else json.dumps(event)).encode())
    assert inspection.verdict(limit_explicit=True, choices=1).skip != ""


@pytest.mark.parametrize(
    ("operation", "kind"), [("messages", "content_block_stop"), ("responses", "response.created")]
)
def test_an_event_whose_name_is_not_its_type_is_garbled(operation: str, kind: str) -> None:
    content = json.dumps({"type": kind, "index": 0}).encode()
    for name in (kind.encode(), b""):
        assert begun(operation).read(name, content) == PLAIN
    with pytest.raises(UpstreamGarbled):
        begun(operation).read(kind.encode()[:-1], content)
