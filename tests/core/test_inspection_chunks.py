"""Streams of chat and completions: choices, their calls, and the usage that is withheld."""

from __future__ import annotations

from typing import Any

import pytest
from core.events import (
    DONE,
    GOOD,
    called,
    chunk,
    inspected,
    said,
    verdict_on,
)

from headgate.core.inspection import END, PLAIN, USAGE
from headgate.types import NO_USAGE, Usage


def test_a_null_error_is_none() -> None:
    assert verdict_on("chat", chunk(said(finish="stop"), error=None), DONE).skip == ""


def test_nothing_after_the_terminal_marker_counts() -> None:
    late = [chunk(said(finish="content_filter")), {"error": {"message": "x"}}, "not json"]
    inspection, kinds = inspected("chat", *GOOD["chat"], *late)
    assert kinds[-3:] == [PLAIN] * 3
    assert inspection.verdict(limit_explicit=False, choices=1).skip == ""


@pytest.mark.parametrize("bad", ["length", "content_filter", None])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_choice_among_several_is_enough(bad: Any, place: int) -> None:
    events = [chunk(said(index, bad if index == place else "stop")) for index in range(3)]
    verdict = verdict_on("chat", *events, DONE, choices=3)
    assert verdict.skip.startswith("finish_")
    assert set(verdict.finish.split(",")) == {"stop", bad or "null"}


def test_a_choice_that_was_never_seen_is_missed() -> None:
    events = [chunk(said(0, "stop"), said(1, "stop")), DONE]
    assert verdict_on("chat", *events, choices=2).skip == ""
    assert verdict_on("chat", *events, choices=3).skip == "incomplete"
    assert verdict_on("chat", DONE).skip == "incomplete"


@pytest.mark.parametrize("order", [("stop", "content_filter"), ("content_filter", "stop")])
def test_a_choice_that_ended_twice_must_be_storable_both_times(order: tuple[str, str]) -> None:
    events = [chunk(said(finish=finish)) for finish in order]
    assert verdict_on("chat", *events, DONE).skip == "finish_content_filter"
    twice = [chunk(said(finish="stop")), chunk(said(finish="stop")), DONE]
    assert verdict_on("chat", *twice).skip == ""


def test_the_calls_of_a_choice_and_the_choices_are_told_apart() -> None:
    mixed = [
        called('{"a"', call=0), called('{"b"', call=1), called('{"c"', choice=1),
        called(": 1}", call=1), called(": 2}", choice=1), called(": 3}", call=0),
    ]  # fmt: skip
    end = [chunk(said(0, "tool_calls"), said(1, "tool_calls")), DONE]
    assert verdict_on("chat", *mixed, *end, choices=2).skip == ""
    for missing in range(len(mixed)):
        cut = mixed[:missing] + mixed[missing + 1 :]
        assert verdict_on("chat", *cut, *end, choices=2).skip == "tool_arguments"


@pytest.mark.parametrize("arguments", [{"a": 1}, 5, ["x"]])
def test_arguments_that_are_no_text_are_not_stored(arguments: Any) -> None:
    events = [called(arguments), chunk(said(finish="tool_calls")), DONE]
    assert verdict_on("chat", *events).skip == "tool_arguments"


@pytest.mark.parametrize("refusal", [None, ""])
def test_an_empty_refusal_is_none(refusal: Any) -> None:
    assert verdict_on("chat", chunk(said(refusal=refusal)), *GOOD["chat"]).skip == ""


USED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.mark.parametrize("operation", ["chat", "completions"])
def test_only_an_event_of_nothing_but_usage_is_withheld(operation: str) -> None:
    for event, kind in (
        (chunk(usage=USED), USAGE),
        (chunk(usage=None), PLAIN),
        (chunk(), PLAIN),
        (chunk(said(), usage=USED), PLAIN),
        ({"usage": USED}, PLAIN),
        (chunk(prompt_filter_results=[{"prompt_index": 0}]), PLAIN),
        (chunk(prompt_filter_results=[{"prompt_index": 0}], usage=USED), PLAIN),
    ):
        inspection, kinds = inspected(operation, event)
        assert kinds == [kind]
        expected = Usage(10, 5) if event.get("usage") else NO_USAGE
        assert inspection.usage == expected


@pytest.mark.parametrize("usage", ["many", {"prompt_tokens": "9"}, {"prompt_tokens": 1.5}, [1]])
def test_usage_that_nobody_can_read_breaks_no_stream(usage: Any) -> None:
    inspection, kinds = inspected("chat", chunk(said(finish="stop"), usage=usage), DONE)
    assert kinds == [PLAIN, END]
    assert inspection.usage == NO_USAGE
    assert inspection.verdict(limit_explicit=False, choices=1).skip == ""


def test_the_last_usage_of_a_chat_counts() -> None:
    early = {**USED, "completion_tokens": 1}
    inspection, _ = inspected("chat", chunk(usage=early), chunk(usage=USED), chunk(usage=None))
    assert inspection.usage == Usage(10, 5)


def test_null_arguments_are_no_piece_of_them() -> None:
    events = [called("{"), called(None), called("}"), chunk(said(finish="tool_calls")), DONE]
    assert verdict_on("chat", *events).skip == ""


def test_the_tier_is_the_last_one_that_a_chunk_names() -> None:
    events = [chunk(said(), service_tier="auto"), chunk(said(finish="stop"), service_tier="flex")]
    inspection, _ = inspected("chat", *events, chunk(service_tier=None), DONE)
    assert inspection.tier == "flex"
    assert verdict_on("chat", *events, DONE).tier == "flex"
    assert verdict_on("chat", chunk(said(finish="stop")), DONE).tier == ""
