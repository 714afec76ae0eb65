"""Streams of messages: blocks and merged usage."""

from __future__ import annotations

from core.events import (
    STARTED,
    STOPPED,
    begun,
    block,
    ended,
    inspected,
    verdict_on,
)

from headgate.core.inspection import ERROR, PLAIN
from headgate.types import NO_USAGE, Usage


def test_messages_without_a_start_or_with_an_open_block_are_incomplete() -> None:
    opened, closed = block()
    assert verdict_on("messages", ended("end_turn"), STOPPED).skip == "incomplete"
    for events in ([opened], [opened, closed, block(index=1)[0]], [opened, block(index=1)[1]]):
        verdict = verdict_on("messages", STARTED, *events, ended("end_turn"), STOPPED)
        assert verdict.skip == "incomplete"


def test_usage_of_messages_is_merged_number_by_number() -> None:
    cached = {"input_tokens": 7, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20,
              "output_tokens": 1}  # fmt: skip
    started = {"type": "message_start", "message": {"usage": cached}}
    inspection, _ = inspected("messages", started)
    assert inspection.usage == Usage(127, 1, 100, 20)
    inspection, _ = inspected("messages", started, ended(None, output_tokens=9))
    assert inspection.usage == Usage(127, 9, 100, 20)
    totals = {"input_tokens": 8, "cache_read_input_tokens": None, "output_tokens": 30}
    inspection, _ = inspected(
        "messages", started, ended(None, output_tokens=9), ended("end_turn", **totals)
    )
    assert inspection.usage == Usage(128, 30, 100, 20)


def test_the_tier_of_a_message_is_what_its_usage_says() -> None:
    started = {"type": "message_start", "message": {"usage": {"service_tier": "standard"}}}
    inspection, _ = inspected("messages", started)
    assert inspection.tier == "standard"
    inspection, _ = inspected("messages", started, ended("end_turn", speed="fast"))
    assert (inspection.tier, verdict_on("messages", started).tier) == ("fast", "standard")


def test_events_without_their_fields_change_nothing() -> None:
    bare = [{"type": kind} for kind in ("message_start", "content_block_delta", "message_delta")]
    inspection, kinds = inspected("messages", *bare)
    assert kinds == [PLAIN] * 3
    assert inspection.usage == NO_USAGE
    assert inspection.verdict(limit_explicit=True, choices=1).skip == "no_terminal"


def test_an_error_event_is_one_by_its_type_alone() -> None:
    inspection = begun("messages")
    assert inspection.read(b"", b'{"type": "error"}') == ERROR
    assert inspection.has_failed


def test_a_stop_reason_that_is_null_is_none() -> None:
    events = [STARTED, *block(), ended(None, output_tokens=3), ended("end_turn"), STOPPED]
    assert verdict_on("messages", *events).skip == ""
