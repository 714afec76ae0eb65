"""Errors in the spelling of each route."""

from __future__ import annotations

import json

import pytest

from headgate.errors import (
    BadRequest,
    CacheOnlyMiss,
    RateLimited,
    Refused,
    StreamBroken,
    UpstreamTimeout,
)
from headgate.surfaces.dialect import error_body, error_headers, in_band_error

OPENAI = ("chat", "completions", "responses", "embeddings", "")
ANTHROPIC = ("messages", "count_tokens")


@pytest.mark.parametrize("operation", OPENAI)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "invalid_request_error"), (503, "api_error")],
)
def test_an_openai_error_is_an_object_under_error(operation: str, status: int, kind: str) -> None:
    error = json.loads(error_body(operation, status, "a_code", 'say "what"'))
    assert error == {
        "error": {"message": 'say "what"', "type": kind, "param": None, "code": "a_code"}
    }


@pytest.mark.parametrize("operation", ANTHROPIC)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (401, "authentication_error"), (404, "not_found_error"),
     (405, "invalid_request_error"), (413, "request_too_large"), (414, "invalid_request_error"),
     (429, "rate_limit_error"), (431, "invalid_request_error"),
     (502, "api_error"), (503, "overloaded_error"), (504, "timeout_error")],
)  # fmt: skip
def test_an_anthropic_error_has_its_type_by_status(operation: str, status: int, kind: str) -> None:
    error = json.loads(error_body(operation, status, "a_code", "what"))
    assert error["type"] == "error"
    assert (error["error"]["type"], error["error"]["message"]) == (kind, "what")


def test_an_error_of_ours_asks_sdks_not_to_retry_it() -> None:
    headers = dict(error_headers(CacheOnlyMiss("none")))
    assert headers[b"x-should-retry"] == b"false"
    assert headers[b"content-type"] == b"application/json"
    assert b"retry-after" not in headers


@pytest.mark.parametrize(("seconds", "shown"), [(0.2, b"1"), (1.1, b"2"), (60.0, b"60")])
def test_retry_after_is_in_whole_seconds_and_never_too_early(seconds: float, shown: bytes) -> None:
    assert dict(error_headers(Refused("no", retry_after_s=seconds)))[b"retry-after"] == shown


def test_an_error_that_an_sdk_may_retry_says_nothing_about_it() -> None:
    headers = dict(error_headers(RateLimited("later", retry_after_s=3)))
    assert headers == {b"content-type": b"application/json", b"retry-after": b"3"}


@pytest.mark.parametrize("operation", [*OPENAI[:3], "messages"])
def test_an_error_inside_a_stream_is_an_event_of_its_own_whatever_stood_before_it(
    operation: str,
) -> None:
    event = in_band_error(operation, StreamBroken("cut"))
    assert event.startswith(b"\n\n"), "a line that was cut off must not swallow the event"
    assert event.endswith(b"\n\n")
    *names, data = event.strip().split(b"\n")
    assert names == ([b"event: error"] if operation in ("messages", "responses") else [])
    assert b"cut" in data
    assert json.loads(data.removeprefix(b"data: "))


def test_the_event_of_a_responses_stream_is_flat() -> None:
    data = in_band_error("responses", UpstreamTimeout("slow", stage="idle")).split(b"data: ")[1]
    event = json.loads(data)
    assert (event["type"], event["code"], event["message"]) == ("error", "upstream_timeout", "slow")


def test_a_message_is_never_more_than_its_text() -> None:
    hostile = 'x"}\n\ndata: [DONE]\n\n\x00\u2028'
    event = in_band_error("chat", BadRequest(hostile))
    assert event.strip().count(b"\n") == 0
    assert json.loads(event.strip().removeprefix(b"data: "))["error"]["message"] == hostile


def test_google_gets_its_own_shape() -> None:
    body = json.loads(error_body("generate", 504, "cache_only_miss", "nothing stored"))
    told = {"code": 504, "message": "nothing stored", "status": "DEADLINE_EXCEEDED"}
    assert body == {"error": told}
    assert json.loads(error_body("generate", 418, "x", "y"))["error"]["status"] == "INTERNAL"
