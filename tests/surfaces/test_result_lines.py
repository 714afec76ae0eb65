"""Results as lines: the same whenever they are asked for, one line each, in both dialects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.messages import MessageBatchIndividualResponse

from headgate.jobs.model import ResultRow, Settled
from headgate.surfaces.result_lines import anthropic_line, openai_line

MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
    "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 2},
}  # fmt: skip
NO = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}


def row(state: str, status: int = 0, body: Any = b"", **more: Any) -> ResultRow:
    content = body if isinstance(body, bytes) else json.dumps(body, indent=2).encode()
    return ResultRow(3, Settled("a", state, status, content, **more))


def openai(one: ResultRow) -> Any:
    line = openai_line("job_1", one)
    assert line.count(b"\n") == 1
    assert line == openai_line("job_1", one)
    return json.loads(line)


def anthropic(one: ResultRow) -> Any:
    line = anthropic_line("job_1", one)
    assert line.count(b"\n") == 1
    MessageBatchIndividualResponse.model_validate_json(line, strict=True)
    return json.loads(line)


@pytest.mark.parametrize("state", ["succeeded", "cache_hit"])
def test_an_answer_stands_in_it_as_it_came(state: str) -> None:
    told = openai(row(state, 200, MESSAGE))
    assert (told["custom_id"], told["error"]) == ("a", None)
    assert (told["response"]["status_code"], told["response"]["body"]) == (200, MESSAGE)
    assert anthropic(row(state, 200, MESSAGE)) == {
        "custom_id": "a", "result": {"type": "succeeded", "message": MESSAGE},
    }  # fmt: skip


def test_numbers_and_texts_are_not_touched() -> None:
    body = b'{"big": 123456789012345678901234567890, "small": 1e-400,\n "text": "a\\nb\\u2028"}'
    line = openai_line("job_1", row("succeeded", 200, body))
    assert b'"big":123456789012345678901234567890,"small":1e-400,"text":"a\\nb\\u2028"' in line


def test_a_providers_refusal_is_told_as_it_said_it() -> None:
    told = openai(row("failed", 400, NO))
    assert (told["response"]["body"], told["error"]) == (NO, None)
    assert anthropic(row("failed", 400, NO))["result"] == {"type": "errored", "error": NO}


@pytest.mark.parametrize("body", [b"", b"<html>", {"error": {"message": "another dialect"}}, [1]])
def test_any_other_failure_is_an_error_of_the_dialect(body: Any) -> None:
    one = row("failed", 502, body, error_code="garbled", error_message="why")
    error = anthropic(one)["result"]["error"]
    assert (error["type"], error["error"]["type"]) == ("error", "api_error")
    assert error["error"]["message"] == "why"
    openai(one)


def test_what_was_never_answered_says_why() -> None:
    said = row("failed", error_code="upstream_timeout", error_message="why")
    assert openai(said)["error"] == {"code": "upstream_timeout", "message": "why"}
    for state, code in (("expired", "batch_expired"), ("cancelled", "batch_cancelled")):
        told = openai(row(state))
        assert (told["response"], told["error"]["code"]) == (None, code)
    assert anthropic(row("expired"))["result"] == {"type": "expired"}
    assert anthropic(row("cancelled"))["result"] == {"type": "canceled"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"type": "error", "error": {"type": "a", "message": "\xff"}}',
        b'{"deep": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"a": "\xff"}',
        b"\xff\x00",
    ],
)
def test_whatever_a_provider_has_sent_its_line_can_be_read(body: bytes) -> None:
    for state, status in (("succeeded", 200), ("failed", 400)):
        one = ResultRow(1, Settled("a", state, status, body))
        for line in (openai_line("job_1", one), anthropic_line("job_1", one)):
            assert line.count(b"\n") == 1
            assert json.loads(line.decode())["custom_id"] == "a"


def test_each_line_has_an_id_of_its_own() -> None:
    ids = {
        json.loads(openai_line(job, ResultRow(number, Settled("a", "expired"))))["id"]
        for job in ("job_1", "job_2")
        for number in range(100)
    }
    assert len(ids) == 200
