"""Streams of responses: the terminal event holds the answer."""

from __future__ import annotations

from core.events import (
    begun,
    inspected,
    response,
    verdict_on,
)

from headgate.core.inspection import ERROR
from headgate.types import Usage


def test_another_incompleteness_is_never_stored() -> None:
    filtered = response("incomplete", incomplete_details={"reason": "content_filter"})
    assert verdict_on("responses", filtered, limited=True).skip == "finish_content_filter"


def test_a_failed_response_is_an_error_that_ends_the_stream_and_is_never_stored() -> None:
    failed = response("failed", error={"code": "server_error", "message": "boom"})
    for event in (failed, response("completed", "response.failed")):
        inspection, kinds = inspected("responses", event)
        assert kinds == [ERROR]
        assert inspection.is_finished
        assert inspection.verdict(limit_explicit=True, choices=1).skip == "error_in_answer"


def test_usage_of_a_response_is_that_of_its_terminal_event() -> None:
    used = {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}
    inspection, _ = inspected("responses", response("completed", usage=used))
    assert inspection.usage == Usage(10, 5, 4)


def test_an_error_event_is_one_by_its_type_alone() -> None:
    inspection = begun("responses")
    assert inspection.read(b"", b'{"type": "error", "code": "server_error"}') == ERROR
    assert inspection.has_failed


def test_the_tier_of_a_response_is_that_of_its_terminal_event() -> None:
    created = response("in_progress", "response.created", service_tier="auto")
    completed = response("completed", service_tier="default")
    inspection, _ = inspected("responses", created, completed)
    assert inspection.tier == "default"
    assert verdict_on("responses", created, completed).tier == "default"
