"""Streams of Google's: no marker but the finish reasons of all candidates."""

from __future__ import annotations

import pytest
from core.events import candidates, inspected, spoken, verdict_on

from headgate.core.inspection import END, ERROR, PLAIN
from headgate.errors import UpstreamGarbled
from headgate.types import Usage

STOP = candidates(spoken("b", finishReason="STOP"))


def test_a_stream_is_complete_when_its_candidate_has_a_finish_reason() -> None:
    inspection, kinds = inspected("generate", candidates(spoken("a")), STOP, candidates())
    assert kinds == [PLAIN, END, PLAIN]
    assert inspection.verdict(limit_explicit=False, choices=1).skip == ""
    assert verdict_on("generate", candidates(spoken("a"))).skip == "no_terminal"
    assert verdict_on("generate", candidates()).skip == "no_terminal"


def test_every_candidate_has_to_finish() -> None:
    first, second = spoken("a", index=0), spoken("b", index=1)
    ends = [spoken("", index=index, finishReason="STOP") for index in (0, 1)]
    both = candidates(first, second)
    inspection, kinds = inspected("generate", both, candidates(ends[0]), candidates(ends[1]))
    assert kinds == [PLAIN, PLAIN, END]
    assert inspection.verdict(limit_explicit=False, choices=2).skip == ""
    assert verdict_on("generate", both, candidates(ends[0]), choices=2).skip == "no_terminal"
    assert verdict_on("generate", STOP, choices=2).skip == "incomplete"


def test_a_later_chunk_without_a_reason_does_not_take_one_back() -> None:
    early = spoken("a", index=0, finishReason="STOP")
    events = [candidates(early, spoken("b", index=1)), candidates(spoken("c", index=0))]
    last = candidates(spoken("d", index=1, finishReason="STOP"))
    _, kinds = inspected("generate", *events, last)
    assert kinds == [PLAIN, PLAIN, END]


def test_usage_is_that_of_the_last_chunk_that_tells_any() -> None:
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 1}
    events = [candidates(spoken("a"), usageMetadata={"promptTokenCount": 5}),
              candidates(spoken("b", finishReason="STOP"), usageMetadata=usage)]  # fmt: skip
    assert verdict_on("generate", *events).usage == Usage(5, 3, tokens_reasoning=1)


def test_the_tier_is_that_of_the_last_chunk_that_tells_any() -> None:
    told = {"trafficType": "ON_DEMAND_FLEX"}
    events = [candidates(spoken("a"), usageMetadata=told),
              candidates(spoken("b", finishReason="STOP"), usageMetadata={})]  # fmt: skip
    assert verdict_on("generate", *events).tier == "flex"


def test_a_call_of_a_function_is_noticed() -> None:
    call = {"content": {"parts": [{"functionCall": {"name": "f"}}]}}
    assert verdict_on("generate", candidates(call), STOP).calls_tools
    assert not verdict_on("generate", STOP).calls_tools


def test_an_error_in_the_stream_is_one() -> None:
    inspection, kinds = inspected("generate", {"error": {"code": 503}}, STOP)
    assert kinds == [ERROR, END]
    assert inspection.verdict(limit_explicit=False, choices=1).skip == "error_in_answer"


@pytest.mark.parametrize("event", ["not JSON", "[1]", '{"candidates": 5}'])
def test_what_is_not_of_the_dialect_is_garbled(event: str) -> None:
    with pytest.raises(UpstreamGarbled):
        inspected("generate", event)
