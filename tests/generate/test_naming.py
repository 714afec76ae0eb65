"""Names of Python for names of an app."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import create_model

from headgate.generate.naming import Names, attribute, camel, snake


def test_a_name_that_is_taken_gets_a_number() -> None:
    names = Names("b")
    assert [names.take(name) for name in ("a", "a", "b", "a")] == ["a", "a_2", "b_2", "a_3"]


@pytest.mark.parametrize(
    ("name", "snaked", "camelled"),
    [("Title it", "title_it", "TitleIt"), ("a-b_c", "a_b_c", "ABC"), ("x1", "x1", "X1")],
)
def test_names_have_the_spelling_of_their_place(name: str, snaked: str, camelled: str) -> None:
    assert (snake(name), camel(name)) == (snaked, camelled)


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True))
def test_any_argument_can_be_a_field_of_a_pydantic_model(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_model("M", **{attribute(name): (int, 1)})  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["class", "json", "copy", "schema", "model_fields", "_x", "str"])
def test_a_name_with_another_meaning_is_not_used(name: str) -> None:
    assert attribute(name) == f"{name.lstrip('_')}_"
