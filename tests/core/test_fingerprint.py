"""The key: every field of every request enters it, and nothing that is not part of the question.

The field names come from the official SDKs' own request types, so a field they add tomorrow is
tested tomorrow.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming as Chat
from openai.types.completion_create_params import CompletionCreateParamsStreaming as Completion
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from headgate.core.canonical import parse_object
from headgate.core.fingerprint import (
    BEHAVIOUR_HEADERS,
    digest,
    join,
    key_prefix,
    key_under,
    raw_prefix,
    route_of,
    scope_of,
    sender_of,
)
from headgate.layers.settings import IGNORED_FIELDS

PARAMS = {
    "chat": Chat,
    "completions": Completion,
    "responses": ResponseCreateParamsStreaming,
    "embeddings": EmbeddingCreateParams,
    "messages": MessageCreateParamsStreaming,
}
INVENTED = ("num_ctx", "reasoning_content", "a_field_of_next_year", "x", "", "Temperature", "ä",
            "extra_body", "headgate", "stream_options2")  # fmt: skip
FIELDS = [
    (operation, name)
    for operation, params in PARAMS.items()
    for name in sorted(params.__required_keys__ | params.__optional_keys__ | set(INVENTED))
]
VALUES: tuple[Any, ...] = (None, False, True, 0, 1, 1.0, "", "1", [], [1], {}, {"a": 1}, {"a": 2})
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "x": 1}}}
    ],
    "temperature": 0.5,
    "stop": ["a", "b"],
}


def key_of(body: dict[str, Any], **changes: Any) -> bytes:
    fields = {**body, "model": changes.pop("model", "m")}
    ignored = changes.pop("ignored", frozenset(IGNORED_FIELDS))
    before: dict[str, Any] = {
        "operation": "chat",
        "scope": b"s" * 32,
        "route": b"r" * 32,
        "headers": ((b"openai-beta", b"x"),),
    }
    return key_under(key_prefix(**{**before, **changes}), fields, ignored)


@pytest.mark.parametrize(("operation", "name"), FIELDS)
def test_every_field_changes_the_key_unless_it_is_on_the_ignore_list(
    operation: str, name: str
) -> None:
    bodies = [{"input": "q"}] + [{"input": "q", name: value} for value in VALUES]
    keys = {key_of(body, operation=operation) for body in bodies}
    if name in (*IGNORED_FIELDS, "model"):
        assert len(keys) == 1
    else:
        assert len(keys) == len(bodies), "absent, null, 0, false, 1 and 1.0 are six questions"


def test_the_ignore_list_holds_labels_only() -> None:
    assert set(IGNORED_FIELDS) == {
        "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    }  # fmt: skip


def test_an_ignored_name_is_ignored_at_the_top_only() -> None:
    assert key_of({"tools": [{"user": 1}]}) != key_of({"tools": [{"user": 2}]})


def test_an_empty_ignore_list_lets_every_label_in() -> None:
    keys = {key_of({name: "x"}, ignored=()) for name in IGNORED_FIELDS}
    assert len(keys) == len(IGNORED_FIELDS)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, the whole excluded."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for name, item in items:
        found.append((*path, name))
        if isinstance(item, dict | list):
            found += paths_in(item, (*path, name))
    return found


PLACES = [path for path in paths_in(BODY) if path != ("model",)]


def changed_at(path: tuple[Any, ...], change: str) -> dict[str, Any]:
    body = copy.deepcopy(BODY)
    holder: Any = body
    for name in path[:-1]:
        holder = holder[name]
    if change == "removed":
        del holder[path[-1]]
    elif change == "replaced":
        holder[path[-1]] = "something else"
    elif isinstance(holder, dict):
        holder["one_more"] = None
    else:
        holder.append(None)
    return body


@pytest.mark.parametrize("change", ["removed", "replaced", "joined by another"])
@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path)))
def test_a_change_anywhere_inside_the_body_changes_the_key(
    path: tuple[Any, ...], change: str
) -> None:
    assert key_of(changed_at(path, change)) != key_of(BODY)


def test_items_of_an_array_are_in_order() -> None:
    assert key_of({"stop": ["a", "b"]}) != key_of({"stop": ["b", "a"]})


@settings(max_examples=50)
@given(st.permutations(list(BODY)), st.sampled_from([None, 1, 4]), st.booleans())
def test_order_of_keys_white_space_and_escapes_do_not_change_the_key(
    names: list[str], indent: int | None, ascii_only: bool
) -> None:
    body = {name: BODY[name] for name in names}
    text = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode()
    assert key_of(parse_object(text)) == key_of(BODY)


@pytest.mark.parametrize(
    ("left", "right"),
    [("é", "e\u0301"), ("a", "a "), ("a", "A"), ("ﬁ", "fi"), ("", "\u200b"), ("\n", "\r\n")],
)
def test_strings_are_compared_byte_for_byte(left: str, right: str) -> None:
    assert key_of({"input": left}) != key_of({"input": right})


@pytest.mark.parametrize(
    "changes",
    [
        {"operation": "responses"},
        {"scope": b"t" * 32},
        {"route": route_of({"target": "other/m"})},
        {"model": "m2"},
        {"headers": ()},
        {"headers": ((b"openai-beta", b"y"),)},
        {"headers": ((b"anthropic-beta", b"x"),)},
        {"headers": ((b"openai-beta", b"x"), (b"openai-beta", b"x"))},
    ],
    ids=str,
)
def test_scope_route_operation_model_and_behaviour_headers_are_each_in_the_key(
    changes: dict[str, Any],
) -> None:
    assert key_of(BODY, **changes) != key_of(BODY)


def test_the_order_of_behaviour_headers_is_not_in_the_key() -> None:
    headers = ((b"openai-beta", b"x"), (b"anthropic-version", b"1"))
    assert key_of(BODY, headers=headers) == key_of(BODY, headers=headers[::-1])


def test_the_resolved_model_stands_for_the_one_in_the_body() -> None:
    assert key_of({"model": "openai/m"}, model="m") == key_of({"model": "m"}, model="m")


def test_behaviour_headers_are_those_that_can_change_an_answer() -> None:
    assert {b"anthropic-version", b"anthropic-beta", b"openai-beta"} <= BEHAVIOUR_HEADERS
    assert not BEHAVIOUR_HEADERS & {b"authorization", b"user-agent", b"idempotency-key",
                                    b"traceparent", b"x-stainless-retry-count"}  # fmt: skip


FIELD_LISTS = st.lists(st.binary(max_size=12), max_size=6)


@settings(max_examples=300)
@given(FIELD_LISTS, FIELD_LISTS)
def test_two_lists_of_fields_are_joined_alike_only_if_they_are_equal(
    left: list[bytes], right: list[bytes]
) -> None:
    assert (join(left) == join(right)) == (left == right)
    assert (digest(*left) == digest(*right)) == (left == right)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=4), st.data())
def test_moving_a_border_between_two_fields_changes_the_joined_bytes(
    fields: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(fields)
    cut = data.draw(st.integers(0, len(whole)))
    moved = [whole[:cut], whole[cut:]]
    assert (join(moved) == join(fields)) == (moved == fields)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (scope_of(b"credential", b"a"), scope_of(b"credential", b"b")),
        (scope_of(b"credential", b"a"), scope_of(b"library", b"a")),
        (scope_of(b"credential", b"a"), scope_of(b"credential", b"a", "n")),
        (scope_of(b"credential", b"a", "n"), scope_of(b"credential", b"a", "m")),
        (scope_of(b"credential", b"an"), scope_of(b"credential", b"a", "n")),
    ],
)
def test_a_scope_differs_by_kind_identity_and_namespace(left: bytes, right: bytes) -> None:
    assert left != right
    assert len(left) == 32


def test_a_route_differs_by_target_kind_and_address() -> None:
    parts = {"target": "openai/m", "kind": "openai", "base_url": "https://a"}
    routes = {route_of({**parts, name: "other"}) for name in parts} | {route_of(parts)}
    assert len(routes) == 4
    assert route_of(dict(reversed(parts.items()))) == route_of(parts)


def test_the_raw_prefix_differs_by_operation_scope_and_every_header() -> None:
    headers = ((b"openai-beta", b"x"), (b"?", b""))
    prefixes = {
        raw_prefix("chat", b"s", headers),
        raw_prefix("responses", b"s", headers),
        raw_prefix("chat", b"t", headers),
        raw_prefix("chat", b"s", headers[1:]),
        raw_prefix("chat", b"s", ((b"openai-beta", b"x"), (b"?", b"v=1"))),
        raw_prefix("chats", b"", headers),
    }
    assert len(prefixes) == 6


def test_who_sends_a_call_is_told_by_the_credential_alone() -> None:
    alice, bob = ((b"authorization", b"alice"),), ((b"authorization", b"bob"),)
    assert len({sender_of(sent) for sent in ((), alice, bob, alice)}) == 3
    assert len(sender_of(alice)) == 32
    assert b"alice" not in sender_of(alice)
