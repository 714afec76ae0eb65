"""Keys of library calls, and how a callable is packed for the way home."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config import Config
from headgate.core.canonical import canonical
from headgate.invocation import Keys, bound_arguments, caller_loop, caller_thread
from headgate.layers.settings import CacheConfig, ModelCacheConfig

KEYS = Keys(Config())


def key(prompt: Any = "p", model: str = "m", params: Any = None, namespace: str = "") -> bytes:
    """A key made by fresh `Keys`, which remember nothing, and by well-used ones alike."""
    fresh = Keys(Config()).of_prompt(prompt, model, params, namespace)
    assert KEYS.of_prompt(prompt, model, params, namespace) == fresh
    return fresh


def test_a_key_is_a_sha_256_and_the_same_in_every_runtime() -> None:
    assert len(key()) == 32
    assert key() == key()


def test_everything_that_can_change_an_answer_changes_the_key() -> None:
    keys = [
        key(),
        key("P"),
        key("p "),
        key(""),
        key(model="n"),
        key(namespace="x"),
        key(params={"temperature": 0}),
        key(params={"temperature": 0.0}),
        key(params={"temperature": -0.0}),
        key(params={"temperature": False}),
        key(params={"temperature": None}),
        key(params={"temperature": "0"}),
        key(params={"Temperature": 0}),
        key(params={"temperature": [0]}),
        key(params={"unknown": 0}),
    ]
    assert len(set(keys)) == len(keys)
    assert b"" not in keys


def test_the_kinds_of_prompts_are_kept_apart() -> None:
    prompts = ["1", 1, 1.0, True, None, "null", [], {}, [[]], ["p"], '["p"]', {"p": 1}, '"p"', "p"]
    assert len({key(prompt) for prompt in prompts}) == len(prompts)


def test_no_text_moves_over_a_border_between_the_parts() -> None:
    keys = {key("ab", "c", {}, "d"), key("a", "bc", {}, "d"), key("a", "b", {}, "cd"),
            key("{}ab", "c", None, "d"), key("b", "c", {"a": 1}, "d"),
            key('{"a":1}b', "c", None, "d")}  # fmt: skip
    assert len(keys) == 6


def test_the_order_and_the_class_of_the_params_do_not_matter() -> None:
    spelled = {"a": 1, "b": {"c": [1, 2], "d": None}}
    turned = {"b": {"d": None, "c": [1, 2]}, "a": 1}
    wanted = key(params=spelled)
    assert key(params=turned) == key(params=OrderedDict(spelled)) == wanted
    assert key(params=MappingProxyType(spelled)) == wanted


def test_no_params_are_empty_params() -> None:
    assert key(params=None) == key(params={}) == key(params=MappingProxyType({}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
json_objects = st.dictionaries(st.text(max_size=3), json_values, max_size=3)


@given(json_values, json_objects, json_values, json_objects)
def test_two_questions_have_one_key_if_and_only_if_they_are_the_same_json(
    prompt: Any, params: Any, other_prompt: Any, other_params: Any
) -> None:
    same = canonical([prompt, params]) == canonical([other_prompt, other_params])
    assert (key(prompt, params=params) == key(other_prompt, params=other_params)) is same


class Text(str):
    """Looks like text and may mean more."""


class Whole(int):
    """Looks like a number and may mean more."""


NOT_JSON: list[tuple[Any, Any]] = [
    (b"p", {}), (Text("p"), {}), (("p",), {}), ({"p"}, {}), (object(), {}), (float("nan"), {}),
    ("\ud800", {}), (["\ud800"], {}), ([Text("p")], {}), ({1: "p"}, {}),
    ("p", {"a": b"x"}), ("p", {"a": (1,)}), ("p", {"a": float("nan")}), ("p", {"a": float("-inf")}),
    ("p", {"a": {1}}), ("p", {1: "a"}), ("p", {Text("a"): 1}), ("p", {"a": Whole(1)}),
    ("p", {"a": Text("x")}), ("p", {"a": [{"b": object()}]}), ("p", {"a": "\ud800"}),
    ("p", {"a": bytearray(b"x")}), ("p", {"a": 1j}), ("p", {"a": ...}), ("p", {"\ud800": 1}),
    ("p", ["a", "list"]), ("p", [("a", 1)]), ("p", "text"), ("p", 7),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "params"), NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_not_exactly_json_has_no_key_however_often_it_comes(
    prompt: Any, params: Any
) -> None:
    assert key(prompt, params=params) == b""
    assert key("p") != b""
    assert key(prompt, params=params) == b""


@pytest.mark.parametrize("name", [None, 5, b"m"], ids=str)
def test_a_model_or_namespace_that_is_no_string_is_refused(name: Any) -> None:
    for more in ({"model": name}, {"namespace": name}):
        with pytest.raises(TypeError, match="must be strings"):
            Keys(Config()).of_prompt(**{"prompt": "p", "model": "m", "params": None,
                                        "namespace": "", **more})  # fmt: skip


def test_a_value_nested_too_deep_has_no_key() -> None:
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    assert key(deep) == key(params={"a": deep}) == b""


def test_a_value_that_holds_itself_has_no_key() -> None:
    round_and_round: list[Any] = []
    round_and_round.append(round_and_round)
    assert key(round_and_round) == key(params={"a": round_and_round}) == b""


def test_a_change_of_params_between_two_calls_is_seen() -> None:
    params: dict[str, Any] = {"stop": ["a"]}
    before = key(params=params)
    params["stop"].append("b")
    assert key(params=params) == key(params={"stop": ["a", "b"]}) != before


def test_keys_stay_right_when_more_is_asked_than_is_remembered() -> None:
    keys = Keys(Config())
    names = [f"model {number}" for number in range(9000)]
    first = [keys.of_prompt("p", name, {}, "") for name in names]
    assert len(set(first)) == len(names)
    assert [keys.of_prompt("p", name, {}, "") for name in names] == first


def test_threads_get_the_same_keys_as_everybody() -> None:
    keys = Keys(Config())
    wrong: list[str] = []
    expected = {f"p{n}": key(f"p{n}") for n in range(50)}

    def ask() -> None:
        for prompt in list(expected) * 20:
            if keys.of_prompt(prompt, "m", {}, "") != expected[prompt]:
                wrong.append(prompt)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_policy_is_by_model() -> None:
    models = {"off": ModelCacheConfig(enabled=False), "short": ModelCacheConfig(ttl=5.0)}
    keys = Keys(Config(cache=CacheConfig(ttl=60.0, models=models)))
    assert [keys.ttl_s(name) for name in ("m", "off", "short")] == [60.0, 60.0, 5.0]
    assert keys.of_prompt("p", "off", {}, "") == b""
    assert keys.of_prompt("p", "short", {}, "") != b""
    assert (keys.bypass("off"), keys.bypass("m")) == ("disabled", "not_json")


def test_a_cache_switched_off_may_be_on_for_one_model() -> None:
    models = {"on": ModelCacheConfig(enabled=True)}
    keys = Keys(Config(cache=CacheConfig(enabled=False, models=models)))
    assert keys.of_prompt("p", "m", {}, "") == b""
    assert keys.of_prompt("p", "on", {}, "") != b""


def sample(a: int, b: int = 2, *rest: int, flag: bool = False, **more: int) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs"), [((1,), {}), ((), {"a": 1}), ((1, 2), {"flag": False})]
)
def test_equal_calls_of_a_function_have_equal_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    expected = {"a": 1, "b": 2, "rest": [], "flag": False, "more": {}}
    assert bound_arguments(inspect.signature(sample), args, kwargs) == expected


def test_arguments_that_do_not_fit_are_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match="missing a required argument"):
        bound_arguments(inspect.signature(sample), (), {})


def test_an_invocation_says_where_its_callable_runs() -> None:
    async def asynchronous() -> Any:
        return caller_loop(b"k", lambda: None)

    _, sync = caller_thread(b"k", lambda: None)
    assert (sync.blocks_thread, sync.thread_id) == (True, threading.get_ident())
    request = asyncio.run(asynchronous())
    assert (request.blocks_thread, request.thread_id) == (False, threading.get_ident())
    assert sync.held_keys == request.held_keys == frozenset()


def test_a_call_made_by_a_callable_knows_the_keys_above_it() -> None:
    async def inner() -> frozenset[bytes]:
        return caller_loop(b"inner", lambda: None).held_keys

    async def outer() -> frozenset[bytes]:
        found: frozenset[bytes] = await caller_loop(b"outer", inner).run()
        assert caller_loop(b"beside", lambda: None).held_keys == frozenset()
        return found

    assert asyncio.run(outer()) == {b"outer"}
