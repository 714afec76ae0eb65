"""In which fields two requests differ, and that nothing of what stands in them is kept."""

from __future__ import annotations

import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.canonical import canonical
from headgate.core.difference import (
    ITEMS_MAX,
    NODES_MAX,
    SHOWN_MAX,
    Change,
    Print,
    changes,
    print_of,
)

CHAT: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}],
    "temperature": 0,
    "tools": [
        {"type": "function", "function": {"name": "a", "description": "One."}},
        {"type": "function", "function": {"name": "b", "description": "Two."}},
    ],
}
NAMES = st.text(string.ascii_letters + "_ .\x1b\n", min_size=1, max_size=6)
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1, 1) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)
REQUESTS = st.dictionaries(NAMES, VALUES, max_size=6)


def differing(earlier: dict[str, Any], later: dict[str, Any]) -> list[Change]:
    return changes(print_of(earlier), print_of(later))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"temperature": 0.7}, Change("temperature", "changed", 0, 0.7, True)),
        ({"seed": 3}, Change("seed", "added", None, 3, True)),
        ({"model": "gpt-4"}, Change("model", "changed", "gpt-4o", "gpt-4", True)),
        ({"stop": ["x"]}, Change("stop", "added")),
        ({"model": "two words"}, Change("model")),
        ({"user_note": "secret"}, Change("user_note", "added")),
    ],
)
def test_a_field_that_differs_is_named_and_settings_are_shown(
    change: dict[str, Any], expected: Change
) -> None:
    assert differing(CHAT, {**CHAT, **change}) == [expected]


def test_a_part_of_a_field_is_named_by_its_place() -> None:
    later = msgspec.json.decode(msgspec.json.encode(CHAT))
    later["tools"][1]["function"]["description"] = "Three."
    later["messages"][0]["content"] = "Be long."
    del later["tools"][0]["type"]
    assert differing(CHAT, later) == [
        Change("messages[0]"),
        Change("tools[0].type", "removed"),
        Change("tools[1].function.description"),
    ]


def test_one_point_zero_and_true_are_not_one() -> None:
    for was, now in ((1, 1.0), (1, True), (0, False)):
        shown = Change("temperature", "changed", was, now, True)
        assert differing({"temperature": was}, {"temperature": now}) == [shown]


def test_text_of_a_prompt_is_never_shown_also_where_it_is_called_like_a_setting() -> None:
    part = {"role": "user", "content": [{"type": "tool_use", "input": {"seed": 7, "n": "word"}}]}
    later = {"role": "user", "content": [{"type": "tool_use", "input": {"seed": 8, "n": "mot"}}]}
    found = differing({"messages": [part]}, {"messages": [later]})
    assert [change.is_shown for change in found] == [False]


def test_a_name_that_is_no_word_is_hidden() -> None:
    found = differing({}, {"a\x1b[31m": 1, "x" * 41: 1, "logit_bias": {"50256 is": -100}})
    assert [change.field for change in found] == ["*", "*", "logit_bias"]


def test_requests_with_one_last_message_have_one_anchor() -> None:
    first = print_of(CHAT)
    assert first.anchor == print_of({"messages": [{"role": "user", "content": "Hi?"}]}).anchor
    assert first.anchor != print_of({"messages": [{"role": "user", "content": "Ho?"}]}).anchor
    assert print_of({"input": "Hi?"}).anchor == print_of({"prompt": "Hi?"}).anchor
    assert print_of({"temperature": 1}).anchor == 0


def test_what_is_kept_of_a_request_is_bounded() -> None:
    huge = {f"f{n}": [{"a": [n] * 50, "b": "x" * 100} for n in range(50)] for n in range(50)}
    kept = print_of(huge)
    assert kept.nodes <= NODES_MAX
    assert len(msgspec.json.encode(kept.tree)) < NODES_MAX * 60
    later = {**huge, "f49": [{"a": 1}]}
    assert [change.field for change in changes(kept, print_of(later))] == ["f49"]


def test_a_long_array_is_told_apart_at_its_beginning() -> None:
    messages = [{"content": str(n)} for n in range(ITEMS_MAX * 2)]
    later = [{"content": "system"}, *messages[1:-1], {"content": "last"}]
    assert [change.field for change in differing({"messages": messages}, {"messages": later})] == [
        "messages[0]", f"messages[{ITEMS_MAX - 1}]",
    ]  # fmt: skip


def test_many_differences_end_with_dots() -> None:
    found = differing({}, {f"f{n}": n for n in range(SHOWN_MAX + 9)})
    assert len(found) == SHOWN_MAX + 1
    assert found[-1] == Change("...")


@given(REQUESTS, REQUESTS)
def test_two_requests_have_no_difference_exactly_if_they_are_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert differing(one, msgspec.json.decode(msgspec.json.encode(one))) == []
    assert (differing(one, other) == []) == (canonical(one) == canonical(other))


def leaves(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for inner in tree.values() for leaf in leaves(inner)]
    if isinstance(tree, list):
        return [leaf for inner in tree for leaf in leaves(inner)]
    return [tree]


@given(REQUESTS)
def test_a_print_holds_numbers_only(request: dict[str, Any]) -> None:
    kept: Print = print_of({**request, "messages": [{"content": "canary"}], "temperature": 0.5})
    found = leaves(kept.tree)
    assert all(isinstance(leaf, int) or not isinstance(leaf[0], str) for leaf in found)
    assert (0.5, float) in found
