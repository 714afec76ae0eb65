"""The template of a prompt: places for arguments, and nothing that an argument could open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.template import Template, written
from headgate.errors import BadRequest


def test_arguments_stand_where_their_names_stood() -> None:
    assert Template("a {{x}} b {{ y }} {{x}}").filled({"x": "1", "y": 2}) == "a 1 b 2 1"


def test_names_are_told_once_in_the_order_of_their_use() -> None:
    assert Template("{{b}}{{a}}{{b}}").names == ["b", "a"]


@given(st.text())
def test_what_an_argument_says_is_never_expanded(text: str) -> None:
    filled = Template("<{{a}}|{{b}}>").filled({"a": text + "{{b}}", "b": "{{a}}" + text})
    assert filled == "<" + text + "{{b}}|{{a}}" + text + ">"


@given(st.text())
def test_single_braces_and_anything_else_stay(text: str) -> None:
    plain = text.replace("{{", "{")
    assert Template(plain).filled({}) == plain


def test_what_is_no_string_is_written_as_json() -> None:
    assert [written(value) for value in ("a", 1, True, None, ["x"])] == [
        "a", "1", "true", "null", '["x"]',
    ]  # fmt: skip


def test_what_is_no_json_is_refused() -> None:
    for value in (["\ud800"], [object()]):
        with pytest.raises(BadRequest, match="cannot be written as JSON"):
            written(value)


def test_a_missing_argument_is_an_error() -> None:
    with pytest.raises(KeyError, match="x"):
        Template("{{x}}").filled({})
