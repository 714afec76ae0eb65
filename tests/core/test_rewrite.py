"""The changes a body may need: a name, and a question for usage; every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.rewrite import renamed, with_stream_usage

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
BODIES = st.dictionaries(
    st.text(max_size=9) | st.sampled_from(["stream_options", "messages"]), VALUES
).map(lambda fields: {**fields, "model": "a", "stream": True})


def test_a_body_that_does_not_speak_of_usage_is_made_to_ask() -> None:
    body = b'{ "model":"m", "x": 1.50e0 , "stream":true}'
    asked = b'{"stream_options":{"include_usage":true}, "model":"m", "x": 1.50e0 , "stream":true}'
    assert with_stream_usage(body) == asked


@pytest.mark.parametrize(
    ("options", "expected"),
    [(b"null", {"include_usage": True}), (b"{}", {"include_usage": True}),
     (b'{"include_usage":false}', {"include_usage": True}),
     (b'{"include_obfuscation":false}', {"include_obfuscation": False, "include_usage": True})],
)  # fmt: skip
def test_other_options_of_the_stream_stay(options: bytes, expected: Any) -> None:
    body = b'{"stream":true,"stream_options":' + options + b',"x":1.50e0}'
    asked = with_stream_usage(body)
    assert json.loads(asked)["stream_options"] == expected
    assert b'"x":1.50e0' in asked


@pytest.mark.parametrize("options", [b'"x"', b"5", b"[]", b"true"])
def test_options_that_are_no_object_are_left_to_the_provider(options: bytes) -> None:
    body = b'{"stream":true,"stream_options":' + options + b"}"
    assert with_stream_usage(body) == body


def test_an_escaped_key_is_found_too() -> None:
    body = b'{"stream":true,"stream\\u005foptions":{"include_usage":false}}'
    asked = with_stream_usage(body)
    assert json.loads(asked) == {"stream": True, "stream_options": {"include_usage": True}}


@given(BODIES)
def test_nothing_else_changes(fields: dict[str, Any]) -> None:
    options = fields.get("stream_options")
    asked = json.loads(with_stream_usage(json.dumps(fields).encode()))
    if options is None or isinstance(options, dict):
        options = {**(options or {}), "include_usage": True}
    assert asked == {**fields, "stream_options": options}


@given(BODIES, st.text(max_size=9))
def test_a_renamed_body_has_another_model_and_nothing_else(
    fields: dict[str, Any], model: str
) -> None:
    sent = renamed(json.dumps(fields).encode(), model)
    assert json.loads(sent) == {**fields, "model": model}
