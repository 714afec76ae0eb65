"""Usage of every dialect made comparable, and the tier that a reply names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.money import tokens_of
from headgate.core.usage import (
    GoogleUsage,
    RawUsage,
    tier_label,
    tier_of_google_usage,
    tier_of_usage,
)
from headgate.core.verdict import usage_in
from headgate.types import NO_USAGE, Usage

OPENAI_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}}  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (OPENAI_USAGE, Usage(10, 5, 4)),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0, 0)),
        ({"prompt_tokens": 8, "completion_tokens": None, "prompt_tokens_details": None}, Usage(8)),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": None}}, Usage(3)),
        (
            {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}},
            Usage(10, 5, 4),
        ),
        ({"input_tokens": 10, "output_tokens": 5}, Usage(10, 5, 0)),
        (
            {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100,
             "cache_creation_input_tokens": 20},
            Usage(130, 5, 100, 20),
        ),
        (
            {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": None,
             "cache_creation_input_tokens": None},
            Usage(1, 2, 0),
        ),
        (
            {"prompt_tokens": 50, "completion_tokens": 9,
             "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 10},
             "completion_tokens_details": {"reasoning_tokens": 4}},
            Usage(50, 9, 20, 10, 0, 4),
        ),
        (
            {"input_tokens": 50, "output_tokens": 9,
             "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 10},
             "output_tokens_details": {"reasoning_tokens": 4}},
            Usage(50, 9, 20, 10, 0, 4),
        ),
        (
            {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100,
             "cache_creation_input_tokens": 20, "cache_creation":
             {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5}},
            Usage(130, 5, 100, 20, 5),
        ),
        ({"prompt_tokens": -1, "completion_tokens": -5}, NO_USAGE),
        ({}, NO_USAGE),
        (None, NO_USAGE),
    ],
)  # fmt: skip
def test_usage_of_every_dialect_is_made_comparable(usage: Any, expected: Usage) -> None:
    assert usage_in(json.dumps({"usage": usage}).encode()) == expected


@pytest.mark.parametrize(
    "strange",
    [
        {"cache_creation": 5},
        {"cache_creation": {"ephemeral_1h_input_tokens": "many"}},
        {"prompt_tokens_details": {"cache_write_tokens": 1.5}},
        {"completion_tokens_details": ["x"]},
        {"output_tokens_details": {"reasoning_tokens": -3}},
        {"service_tier": {}, "speed": 3},
    ],
)
def test_a_strange_number_that_came_later_never_spoils_the_others(strange: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, **strange}
    assert usage_in(json.dumps({"usage": usage}).encode()) == Usage(7, 2)


NUMBERS = st.none() | st.integers(-5, 10**9)
RAW = st.fixed_dictionaries(
    {},
    optional={
        **{name: NUMBERS for name in RawUsage.__struct_fields__ if name.endswith("_tokens")},
        "prompt_tokens_details": st.none() | st.fixed_dictionaries({"cached_tokens": NUMBERS}),
        "cache_creation": st.none() | st.fixed_dictionaries({"ephemeral_1h_input_tokens": NUMBERS}),
    },
)


@given(RAW)
def test_whatever_is_reported_no_class_of_tokens_is_negative_or_counted_twice(raw: Any) -> None:
    usage = usage_in(json.dumps({"usage": raw}).encode())
    tokens = tokens_of(usage)
    assert min(getattr(tokens, name) for name in type(tokens).__struct_fields__) >= 0
    assert (tokens.all_input, tokens.output) == (usage.tokens_in, usage.tokens_out)


@pytest.mark.parametrize(
    ("tier", "speed", "label"),
    [
        (None, None, ""),
        ("standard", None, "standard"),
        ("standard", "standard", "standard"),
        ("standard", "fast", "fast"),
        (None, "fast", "fast"),
        ("batch", "fast", "batch+fast"),
        ("priority", "standard", "priority"),
    ],
)
def test_anthropics_tier_and_speed_are_one_label(tier: Any, speed: Any, label: str) -> None:
    assert tier_of_usage(RawUsage(service_tier=tier, speed=speed)) == label


@pytest.mark.parametrize(
    ("traffic", "tier", "label"),
    [
        (None, None, ""),
        ("ON_DEMAND", None, "standard"),
        ("ON_DEMAND_FLEX", None, "flex"),
        ("ON_DEMAND_PRIORITY", None, "priority"),
        ("PROVISIONED_THROUGHPUT", None, "provisioned_throughput"),
        ("TRAFFIC_TYPE_UNSPECIFIED", None, ""),
        (None, "unspecified", ""),
        (None, "flex", "flex"),
    ],
)
def test_googles_two_ways_to_say_a_tier_are_one(traffic: Any, tier: Any, label: str) -> None:
    assert tier_of_google_usage(GoogleUsage(traffic_type=traffic, service_tier=tier)) == label


@pytest.mark.parametrize("said", [5, [], {}, "two words", "x" * 10_000, "\n", "f\u0142ex", True])
def test_a_tier_that_is_no_name_is_other_and_never_standard(said: Any) -> None:
    assert tier_label(said) == "other"


def test_nothing_said_is_no_tier() -> None:
    assert (tier_of_usage(None), tier_of_google_usage(None), tier_label("")) == ("", "", "")
