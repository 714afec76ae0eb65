"""Templates and literals: what a user wrote cannot become code."""

from __future__ import annotations

import ast
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.generate.render import Templates, literal, one_line, quoted, toml

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(VALUES, st.integers(0, 8))
def test_a_literal_is_the_value_and_nothing_else(value: Any, indent: int) -> None:
    written = literal(value, indent)
    assert ast.literal_eval(written) == value
    assert ast.literal_eval(f"[\n{' ' * indent}{written}\n]") == [value]


@given(st.text())
def test_a_string_is_one_line_of_what_can_be_printed(text: str) -> None:
    written = quoted(text)
    assert ast.literal_eval(written) == text
    assert written.isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_string_in_toml_is_the_string(text: str) -> None:
    assert tomllib.loads(f"{toml(text)} = {toml(text)}") == {text: text}


@given(st.text())
def test_a_line_of_markdown_has_no_end_inside(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


def test_a_template_is_filled_in_one_pass() -> None:
    filled = Templates().fill("step.py", name="@{target}", target="B", takes="{}")
    assert filled == "        Step(@{target}, B, {}),\n"


def test_a_value_without_a_place_and_a_place_without_a_value_are_errors() -> None:
    with pytest.raises(KeyError, match="has no place for more"):
        Templates().fill("step.py", name="", target="", takes="", more="")
    with pytest.raises(KeyError, match="takes"):
        Templates().fill("step.py", name="", target="")
