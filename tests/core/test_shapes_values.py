"""What the conversions share: strict values, and the rules that join pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.shapes_values import (
    PIECE_CHARS,
    PIECES_MAX,
    Lossy,
    Series,
    events_in,
    fields_of,
    in_order,
    index_of,
    is_same,
    items_of,
    pieces_of,
    read,
    set_once,
    text_of,
    tokens_match,
)


def test_a_value_of_another_type_is_refused() -> None:
    assert fields_of({"a": 1}) == fields_of({"a": 1}, {"a", "b"}) == {"a": 1}
    assert (items_of([1]), text_of("a"), index_of(0)) == ([1], "a", 0)
    for refuse, value in (
        (fields_of, []), (items_of, {}), (text_of, None), (index_of, True), (index_of, -1),
        (index_of, 1.0), (index_of, "1"), (read, b"{"), (read, b"NaN"), (read, "[" * 100_000),
        (read, b'"\\ud800"'), (read, b""),
    ):  # fmt: skip
        with pytest.raises(Lossy):
            refuse(value)  # type: ignore[operator]
    with pytest.raises(Lossy):
        fields_of({"a": 1, "c": 2}, {"a", "b"})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        (0, None, False),
        ("a", "a", True),
        ("1", 1, False),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({"a": 1}, {"a": 1.0}, False),
        ([1, 2], [2, 1], False),
    ],
)
def test_values_are_the_same_if_their_json_is(one: Any, other: Any, same: bool) -> None:
    assert is_same(one, other) is same


def test_numbered_things_must_have_no_gap() -> None:
    assert in_order({1: "b", 0: "a"}) == ["a", "b"]
    for gap in ({}, {1: "b"}, {0: "a", 2: "c"}):
        with pytest.raises(Lossy):
            in_order(gap)


def test_events_without_data_are_left_out_and_an_unfinished_one_is_refused() -> None:
    assert events_in(b": hi\n\nevent: a\ndata: 1\n\ndata: 2\n\n") == [(b"a", b"1"), (b"", b"2")]
    with pytest.raises(Lossy):
        events_in(b"data: 1\n\ndata: 2\n")


@settings(max_examples=100)
@given(st.text(), st.integers(1, 2_000))
def test_pieces_are_the_text_and_not_too_many(text: str, times: int) -> None:
    pieces = pieces_of(text * times)
    assert "".join(pieces) == text * times
    assert len(pieces) <= PIECES_MAX
    assert all(pieces)
    assert len(pieces) <= -(-len(text * times) // PIECE_CHARS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["a"], "a"), ([None, "a", None], "a"), (["a", "a"], "a"), ([None], None), ([1, 1], 1)],
)
def test_a_field_is_null_until_its_only_value_comes(values: Any, expected: Any) -> None:
    fields: dict[str, Any] = {}
    for value in values:
        set_once(fields, "name", value)
    assert fields == {"name": expected}


@pytest.mark.parametrize("values", [("a", "b"), ("a", ""), (1, 1.0), (False, True)])
def test_a_second_value_is_refused(values: Any) -> None:
    fields: dict[str, Any] = {}
    set_once(fields, "name", values[0])
    with pytest.raises(Lossy):
        set_once(fields, "name", values[1])


def joined(kind: Any, *values: Any) -> Any:
    series = Series(kind)
    for value in values:
        series.add("name", value)
    return series.joined()


def test_pieces_of_one_type_are_joined_and_null_is_none() -> None:
    assert joined(str) == {}
    assert joined(str, None) == {"name": None}
    assert joined(str, "a", None, "b") == {"name": "ab"}
    assert joined(str, "") == {"name": ""}
    assert joined(list, [1], None, [2, 3]) == {"name": [1, 2, 3]}
    assert joined(list, []) == {"name": []}
    for kind, value in ((str, ["a"]), (str, 5), (list, "a"), (list, {})):
        with pytest.raises(Lossy):
            joined(kind, value)


def test_what_is_never_cut_comes_once() -> None:
    series = Series(str)
    for value in (None, "", "a", "", None):
        series.add_once("id", value)
    assert series.joined() == {"id": "a"}
    with pytest.raises(Lossy):
        series.add_once("id", "a")


@pytest.mark.parametrize(
    ("tokens", "text", "match"),
    [
        (["a", "b"], "ab", True),
        (["a", ""], "a", True),
        (["a"], "ab", False),
        ([], "", False),
        (None, "", False),
        (["a", 5], "a5", False),
        (["a"], None, False),
    ],
)
def test_tokens_match_the_text_they_make(tokens: Any, text: Any, match: bool) -> None:
    assert tokens_match(tokens, text) is match
