"""The nouns: what cannot be changed, printed or mixed up."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc
from typing import Any

import pytest
from msgspec.structs import replace

from headgate.stream import Whole
from headgate.types import (
    EVERYTHING,
    NO_CONTROLS,
    NO_USAGE,
    ORIGINATED,
    Call,
    Controls,
    Entry,
    Invocation,
    Provenance,
    Reply,
    Secret,
    Selection,
    Target,
    Usage,
    WireRequest,
)

ENTRY = Entry(
    key=b"k" * 32,
    scope=b"s" * 32,
    model="m",
    operation="chat",
    created_s=100.0,
    ttl_s=60.0,
    content=b"answer",
    headers=((b"content-type", b"text/plain"),),
    namespace="n",
    tags=("a", "b"),
)
NOUNS: list[Any] = [
    NO_USAGE,
    NO_CONTROLS,
    Target("p", "m"),
    WireRequest("/", b"", ()),
    EVERYTHING,
    ORIGINATED,
    ENTRY,
    Reply(200, (), Whole(b"")),
]


def test_a_secret_shows_itself_nowhere_but_in_reveal() -> None:
    secret = Secret("sk-123")
    shown = [str(secret), repr(secret), f"{secret}", f"{[secret]}", f"{(secret, 1)}"]
    assert not any("sk-123" in text for text in shown)
    assert secret.reveal() == "sk-123"


def test_a_secret_is_not_pickled_and_not_compared_by_accident() -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret("sk-123"))
    assert Secret("a") != Secret("a")
    assert Secret("a") != "a"


def test_a_secret_knows_whether_it_is_empty() -> None:
    assert (bool(Secret("")), bool(Secret("x"))) == (False, True)


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: type(noun).__name__)
def test_a_noun_is_frozen(noun: Any) -> None:
    field = noun.__struct_fields__[0]
    with pytest.raises(AttributeError, match="immutable"):
        setattr(noun, field, None)


def test_tokens_are_input_and_output_and_what_was_cached_is_inside_the_input() -> None:
    assert Usage(tokens_in=10, tokens_out=5, tokens_cached=4).tokens == 15
    assert NO_USAGE.tokens == 0


def test_a_target_has_the_name_that_headers_show() -> None:
    assert Target("openai", "gpt-4o").name == "openai/gpt-4o"


def test_a_call_may_use_the_cache_unless_something_is_said() -> None:
    call = Call("chat", "m", WireRequest("/", b"", ()), b"k", b"s", Target("p", "m"))
    assert (call.bypass, call.streamed, call.ttl_s) == ("", False, 3600.0)
    controls = call.controls
    assert controls == Controls()
    assert (controls.may_read, controls.may_store, controls.only_if_cached) == (True, True, False)


def test_an_invocation_holds_no_keys_unless_it_is_told() -> None:
    async def run() -> None: ...

    assert Invocation(run, 1, True).held_keys == frozenset()


def test_a_reply_originated_upstream_unless_its_provenance_says_otherwise() -> None:
    assert (ORIGINATED.hit, ORIGINATED.forward, ORIGINATED.stored) == (False, "miss", False)
    assert Provenance(hit=True) != ORIGINATED


def test_an_entry_expires_after_its_time_to_live() -> None:
    assert ENTRY.expires_s == 160.0


def test_an_entry_is_charged_for_its_bytes_and_the_objects_around_them() -> None:
    bare = replace(ENTRY, content=b"", headers=())
    assert bare.size_bytes == 512
    assert replace(bare, content=b"x" * 1000).size_bytes == 1512
    assert ENTRY.size_bytes == 512 + len(b"answer") + len(b"content-type") + len(b"text/plain")


def test_what_an_entry_is_charged_for_its_objects_is_near_what_they_take() -> None:
    count = 1000
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        held = [
            (number.to_bytes(32, "big"), replace(copy.copy(ENTRY), key=number.to_bytes(32, "big"),
             scope=bytes(32), content=bytes([number % 256]) * 10, created_s=float(number)))
            for number in range(count)
        ]  # fmt: skip
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 200 < (after - before) / len(held) < 700


def selects(selection: Selection, **changes: Any) -> bool:
    return selection.matches(replace(ENTRY, **changes), now_s=150.0)


@pytest.mark.parametrize(
    ("selection", "other"),
    [
        (Selection(model="m"), {"model": "another"}),
        (Selection(namespace="n"), {"namespace": ""}),
        (Selection(tag="b"), {"tags": ("a",)}),
        (Selection(older_than_s=49.0), {"created_s": 120.0}),
        (Selection(key=b"k" * 32), {"key": b"x" * 32}),
        (Selection(scope=b"s" * 32), {"scope": b"x" * 32}),
    ],
    ids=["model", "namespace", "tag", "age", "key", "scope"],
)
def test_a_selection_takes_what_meets_its_condition(
    selection: Selection, other: dict[str, Any]
) -> None:
    assert selects(selection)
    assert not selects(selection, **other)
    assert selects(EVERYTHING, **other)


def test_the_conditions_of_a_selection_are_joined_with_and() -> None:
    both = Selection(model="m", tag="a")
    assert selects(both)
    assert not selects(both, model="another")
    assert not selects(both, tags=())


def test_an_empty_namespace_can_be_selected() -> None:
    assert selects(Selection(namespace=""), namespace="")
    assert not selects(Selection(namespace=""))


def test_an_entry_exactly_as_old_as_the_limit_is_not_older() -> None:
    assert not selects(Selection(older_than_s=50.0))
