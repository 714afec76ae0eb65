"""A stream judged event by event: the same verdict as on the whole answer, and only at its end."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from core.asked import CASES, REQUESTS, STREAMED, asks, events_answer, whole_answer
from core.events import (
    DONE,
    GOOD,
    begun,
    inspected,
    verdict_on,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.inspection import END, ERROR, PLAIN, USAGE, inspect
from headgate.core.sse import parse_event, spell
from headgate.core.verdict import judge
from headgate.errors import UpstreamGarbled
from headgate.types import NO_USAGE, OPERATIONS


@pytest.mark.parametrize(("operation", "name"), CASES)
@pytest.mark.parametrize("limited", [True, False])
def test_a_stream_gets_the_verdict_of_the_whole_answer(
    operation: str, name: str, limited: bool
) -> None:
    fields = REQUESTS[operation][name]
    inspection = begun(operation)
    for event in events_answer(operation, fields):
        inspection.read(*parse_event(event))
    verdict = inspection.verdict(limit_explicit=limited, choices=fields.get("n", 1))
    assert verdict == judge(operation, 200, whole_answer(operation, fields), limit_explicit=limited)
    assert verdict.usage == inspection.usage != NO_USAGE


@settings(max_examples=100)
@given(asks())
def test_only_a_stream_read_to_its_terminal_marker_is_stored(ask: Any) -> None:
    operation, fields, text = ask
    inspection = begun(operation)
    events = events_answer(operation, fields, text)
    for event in events[:-1]:
        assert inspection.read(*parse_event(event)) in (PLAIN, USAGE)
        assert inspection.verdict(limit_explicit=True, choices=1).skip == "no_terminal"
        assert not inspection.is_finished
    assert inspection.read(*parse_event(events[-1])) == END
    assert inspection.is_finished
    assert inspection.verdict(limit_explicit=True, choices=1).skip == ""
    assert not inspection.has_failed


@pytest.mark.parametrize("operation", STREAMED)
def test_the_short_streams_of_these_tests_are_stored(operation: str) -> None:
    inspection, kinds = inspected(operation, *GOOD[operation])
    assert inspection.verdict(limit_explicit=False, choices=1).skip == ""
    assert kinds == [PLAIN] * (len(kinds) - 1) + [END]


@pytest.mark.parametrize("operation", [*set(OPERATIONS) - set(STREAMED), "count_tokens", ""])
def test_another_operation_has_no_streams(operation: str) -> None:
    assert inspect(operation) is None


@pytest.mark.parametrize("operation", STREAMED)
@pytest.mark.parametrize("place", [0, -1, 1_000])
def test_a_stream_with_an_error_event_is_not_stored(operation: str, place: int) -> None:
    error: Any = {"error": {"message": "boom", "type": "server_error"}}
    errors = [error, {"type": "error", **error}]
    if operation == "responses":
        errors.append({"type": "error", "code": "server_error", "message": "boom", "param": None})
    for event in errors:
        events = list(GOOD[operation])
        events.insert(place, event)
        inspection, kinds = inspected(operation, *events)
        is_late = place == 1_000
        assert inspection.has_failed is not is_late
        assert (ERROR in kinds) is not is_late
        skip = "" if is_late else "error_in_answer"
        assert inspection.verdict(limit_explicit=False, choices=1).skip == skip


@pytest.mark.parametrize("operation", STREAMED)
@pytest.mark.parametrize("content", [b'{"message": "boom"}', b"upstream went away"])
def test_an_error_event_is_one_by_its_name_alone(operation: str, content: bytes) -> None:
    inspection = begun(operation)
    assert inspection.read(b"error", content) == ERROR
    assert inspection.has_failed


@pytest.mark.parametrize("operation", STREAMED)
def test_comments_and_unknown_events_are_plain_and_change_nothing(operation: str) -> None:
    unknown: list[Any] = [{}, {"type": "brand_new", "delta": 5, "usage": "x", "choices": None}]
    if operation in ("chat", "completions"):
        unknown = [{}, {"choices": None}, {"object": "thread.created"}]
    inspection = begun(operation)
    assert inspection.read(b"", b"") == inspection.read(b"ping", b"") == PLAIN
    _, kinds = inspected(operation, *unknown, *GOOD[operation])
    assert kinds == [PLAIN] * (len(kinds) - 1) + [END]
    assert verdict_on(operation, *unknown, *GOOD[operation]).skip == ""


@pytest.mark.parametrize("operation", ["messages", "responses"])
def test_done_means_nothing_where_it_is_not_the_terminal_marker(operation: str) -> None:
    _, kinds = inspected(operation, DONE)
    assert kinds == [PLAIN]
    assert verdict_on(operation, DONE).skip == "no_terminal"
    assert verdict_on(operation, *GOOD[operation], DONE).skip == ""


@settings(max_examples=200)
@given(st.sampled_from(STREAMED), st.lists(st.binary(max_size=40), max_size=5))
def test_arbitrary_bytes_are_garbled_at_worst_and_never_stored(
    operation: str, events: list[bytes]
) -> None:
    inspection = begun(operation)
    for event in events:
        with contextlib.suppress(UpstreamGarbled):
            assert inspection.read(*parse_event(spell(event))) in (PLAIN, USAGE, END, ERROR)
    assert inspection.verdict(limit_explicit=True, choices=1).skip != ""
