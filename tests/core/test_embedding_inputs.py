"""The inputs of an embeddings request: which there are, and their keys."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from headgate.core.canonical import parse_object
from headgate.core.embedding_inputs import (
    INPUTS_MAX,
    TOKENS_LONG,
    asked_in,
    has_company,
    inputs_in,
    joint_body,
    keys_of,
    normal,
    tokens_of,
)
from headgate.core.fingerprint import key_under

PREFIX = b"before"
IGNORED = frozenset({"user"})


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", ["a"]),
        (["a"], ["a"]),
        (["a", "b", "a"], ["a", "b", "a"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2]], [[1, 2]]),
        ([[1], [2]], [[1], [2]]),
        ("", [""]),
        (["", "a"], ["", "a"]),
    ],
)
def test_a_text_and_a_list_with_it_are_one_input_and_so_are_tokens(
    given: Any, inputs: list[Any]
) -> None:
    assert inputs_in({"input": given}) == inputs


@pytest.mark.parametrize(
    "given",
    [None, [], 7, {"text": "a"}, ["a", 1], [1, "a"], ["a", ["b"]], [[1], "a"], [[1], []], [[]],
     [1.5], [True], [[1, None]], [[["a"]]], [{"text": "a"}], ["a"] * (INPUTS_MAX + 1)],
)  # fmt: skip
def test_what_is_neither_is_not_taken_apart(given: Any) -> None:
    assert inputs_in({"input": given}) == []
    assert normal({"input": given, "model": "m"})[0] == 0


@pytest.mark.parametrize("spelt", ['"a"', '["a"]', ' [ "\\u0061" ]'])
def test_an_input_alone_has_one_key_however_it_is_spelt(spelt: str) -> None:
    count, fields = normal(parse_object(b'{"model":"m","input":' + spelt.encode() + b"}"))
    assert (count, fields["input"]) == (1, "a")


@pytest.mark.parametrize(
    "rest", [{}, {"dimensions": 3}, {"user": "u"}, {"z": 1.50, "a": {"b": []}}]
)
@pytest.mark.parametrize("given", [["a", 'b"\n', "ü€😀"], [[1, 2], [3]]])
def test_the_key_of_each_input_is_that_of_a_call_with_it_alone(
    given: list[Any], rest: dict[str, Any]
) -> None:
    body = json.dumps({"model": "as it goes upstream", "input": given, **rest}).encode()
    found = keys_of(asked_in(body), "as requested", PREFIX, IGNORED)
    for item, (key, written) in zip(given, found, strict=True):
        alone = parse_object(json.dumps({"model": "x", "input": [item], **rest}).encode())
        _, fields = normal(alone)
        assert key == key_under(PREFIX, {**fields, "model": "as requested"}, IGNORED)
        assert json.loads(written) == item
    assert len({key for key, _ in found}) == len(given)


def test_a_joint_body_keeps_the_fields_and_their_order() -> None:
    body = b'{"user": "u", "input": "a", "model":"m","dimensions":1e3}'
    assert joint_body(body, [b'"a"', b'"b"']) == (
        b'{"user":"u","input":["a","b"],"model":"m","dimensions":1e3}'
    )


def test_what_a_model_would_refuse_has_no_company() -> None:
    assert has_company("a")
    assert has_company([1] * (TOKENS_LONG - 1))
    assert not has_company("")
    assert not has_company("x" * 4 * TOKENS_LONG)
    assert not has_company([1] * TOKENS_LONG)


def test_tokens_are_counted_and_texts_are_guessed() -> None:
    assert tokens_of([5, 6, 7]) == 3
    assert tokens_of("x" * 40) == 10
    assert tokens_of("") == 1


def test_a_request_has_texts_or_tokens() -> None:
    assert asked_in(b'{"input":["a","b"],"model":"m"}').is_text
    asked = asked_in(b'{"input":[[1],[2]],"model":"m"}')
    assert not asked.is_text
    assert asked.rest == {"model": "m"}
    assert msgspec.json.encode(asked.inputs) == b"[[1],[2]]"
