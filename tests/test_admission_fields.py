"""Single fields of a request's body."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.admission_fields import (
    MODEL_CHARS_MAX,
    asks_usage,
    bounds_answer,
    choices_in,
    flag_in,
    model_in,
)
from headgate.errors import BadRequest


@pytest.mark.parametrize("model", [None, "", 7, "x" * (MODEL_CHARS_MAX + 1)])
def test_what_is_no_name_of_a_model_is_refused(model: Any) -> None:
    with pytest.raises(BadRequest):
        model_in({"model": model})
    assert model_in({"model": "x" * MODEL_CHARS_MAX})


@pytest.mark.parametrize("flag", ["true", 1, []])
def test_a_flag_is_true_false_or_absent(flag: Any) -> None:
    with pytest.raises(BadRequest):
        flag_in({"stream": flag}, "stream")
    assert [flag_in({"stream": said}, "stream") for said in (True, False, None)] == [
        True, False, False
    ]  # fmt: skip


def test_a_stream_asks_for_its_usage_in_one_way() -> None:
    assert asks_usage({"stream_options": {"include_usage": True}})
    assert not asks_usage({"stream_options": {"include_usage": 1}})
    assert not asks_usage({"stream_options": None})


def test_a_limit_that_is_null_is_none() -> None:
    assert bounds_answer({"max_tokens": 3})
    assert not bounds_answer({"max_tokens": None})
    assert not bounds_answer({"model": "m"})


@pytest.mark.parametrize(("said", "count"), [(3, 3), (0, 1), (None, 1), ("3", 1), (10**9, 1)])
def test_a_count_that_makes_no_sense_is_one(said: Any, count: int) -> None:
    assert choices_in({"n": said}) == count
