"""Tokens guessed before a call is made."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.estimate import (
    MEDIA_TOKENS,
    OUTPUT_TOKENS,
    OUTPUT_TOKENS_MAX,
    estimated_input,
    estimated_output,
    estimated_tokens,
)


def out_of(**fields: Any) -> int:
    """The part of an estimate that is not text of the request."""
    body = json.dumps(fields).encode()
    return estimated_tokens(body) - len(body) // 4


def test_four_bytes_are_a_token() -> None:
    body = b'{"prompt": "' + b"word " * 800 + b'"}'
    assert estimated_tokens(body) == len(body) // 4 + OUTPUT_TOKENS


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_bound_of_the_answer_counts_as_its_length(name: str) -> None:
    assert out_of(**{name: 30}) == 30


def test_an_answer_without_a_bound_and_one_with_a_formal_bound_are_guessed() -> None:
    assert out_of() == OUTPUT_TOKENS
    assert out_of(max_tokens=10**12) == OUTPUT_TOKENS_MAX


def test_several_answers_count_each() -> None:
    assert out_of(max_tokens=30, n=3) == 90
    assert out_of(max_tokens=30, n=10**9) == 30 * 128


@pytest.mark.parametrize("value", [None, True, 0, -5, 1.5, "30", [30]])
def test_what_is_no_bound_is_none(value: Any) -> None:
    assert out_of(max_tokens=value) == OUTPUT_TOKENS
    assert out_of(max_tokens=30, n=value) == 30


def test_a_picture_does_not_count_by_its_length() -> None:
    picture = base64.b64encode(bytes(3_000_000)).decode()
    body = json.dumps({"max_tokens": 1, "image_url": f"data:image/png;base64,{picture}"}).encode()
    assert MEDIA_TOKENS < estimated_tokens(body) < MEDIA_TOKENS + 50


@given(st.binary(max_size=300))
def test_anything_has_an_estimate(body: bytes) -> None:
    assert estimated_tokens(body) >= 1


def test_an_answer_is_as_long_as_what_it_says_not_as_what_carries_it() -> None:
    said = b'data: {"delta": {"content": "' + b"x" * 40 + b'"}}\n\n'
    assert estimated_output(said, len(said)) == 10
    assert estimated_output(said * 3, 3 * len(said)) == 30
    assert estimated_output(b'{"text": "a\\"b\\\\"}', 18) == 2
    assert estimated_output(b": ping\n\n", 8) == 0
    assert estimated_output(b"", 0) == 0


def test_of_a_long_answer_the_beginning_is_looked_at() -> None:
    said = b'data: {"delta": {"content": "' + b"x" * 40 + b'"}}\n\n'
    beginning = said * 10
    assert estimated_output(beginning, 1000 * len(said)) == 10_000
    assert estimated_output(said * 100_000, 100_000 * len(said)) == pytest.approx(1e6, rel=0.001)


def test_a_prompt_is_estimated_by_itself() -> None:
    assert estimated_input(b"x" * 400) == 100
    assert estimated_input(b"") == 1
