"""The runtime as a program holds it: one caller at a time. Callers that meet one another are in
tests/stacks/test_joining.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.clock import Clock
from headgate.config import Config
from headgate.errors import Closed
from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.runtime import Runtime
from headgate.testing import FakeClock, FakeModel

FALSY: list[Any] = [None, 0, 0.0, "", False, [], {}, (), b""]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def runtime(clock: FakeClock) -> Iterator[Runtime]:
    with Runtime(clock=clock) as runtime:
        yield runtime


def configured(clock: Clock | None = None, **cache: Any) -> Runtime:
    return Runtime(Config(cache=CacheConfig(**cache)), clock=clock)


class Bottomless:
    """Refuses to be copied, as sockets and locks do."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Bottomless:
        raise TypeError("not this one")


def test_the_first_call_asks_and_the_next_ones_are_answered(runtime: Runtime) -> None:
    model = FakeModel(reply="4")
    assert [runtime.cached_llm_call("2 + 2?", "m", {}, model.call) for _ in range(3)] == ["4"] * 3
    assert model.count == 1
    cache = runtime.stats()["cache"]
    assert (cache["hits"], cache["misses"], cache["hit_rate"]) == (2, 1, 2 / 3)


def test_the_first_async_call_asks_and_callers_of_both_kinds_are_answered(runtime: Runtime) -> None:
    model = FakeModel(reply="4")

    async def ask() -> list[Any]:
        return [await runtime.acached_llm_call("2 + 2?", "m", {}, model.acall) for _ in range(3)]

    assert asyncio.run(ask()) == ["4"] * 3
    assert runtime.cached_llm_call("2 + 2?", "m", None, model.call) == "4"
    assert model.count == 1


@pytest.mark.parametrize("answer", FALSY, ids=repr)
def test_a_falsy_answer_is_an_answer(runtime: Runtime, answer: Any) -> None:
    model = FakeModel(reply=answer)
    for _ in range(3):
        got = runtime.cached_llm_call("p", "m", {}, model.call)
        assert got == answer
        assert type(got) is type(answer)
    assert model.count == 1


def test_an_exception_propagates_as_it_is_and_is_not_kept(runtime: Runtime) -> None:
    error = TimeoutError("slow")
    model = FakeModel(reply="Lima")
    model.script(error)
    with pytest.raises(TimeoutError) as raised:
        runtime.cached_llm_call("p", "m", {}, model.call)
    assert raised.value is error
    assert runtime.cached_llm_call("p", "m", {}, model.call) == "Lima"
    metrics = runtime.stats()["metrics"]
    assert (metrics["total_calls"], metrics["total_errors"]) == (2, 1)
    assert metrics["errors"] == {"m:timeout": 1}


def test_an_async_exception_propagates_as_it_is_and_is_not_kept(runtime: Runtime) -> None:
    error = ValueError("no")
    model = FakeModel(reply="Lima")
    model.script(error)
    with pytest.raises(ValueError, match="no") as raised:
        asyncio.run(runtime.acached_llm_call("p", "m", {}, model.acall))
    assert raised.value is error
    assert asyncio.run(runtime.acached_llm_call("p", "m", {}, model.acall)) == "Lima"


def test_the_caller_whose_callable_ran_gets_the_very_object(runtime: Runtime) -> None:
    result = {"text": "Paris"}
    assert runtime.cached_llm_call("p", "m", {}, lambda: result) is result


@pytest.mark.parametrize("kind", [dict, tuple], ids=["JSON", "object"])
def test_no_change_of_an_answer_reaches_the_cache(runtime: Runtime, kind: type) -> None:
    words = ["Paris"]
    result = {"words": words} if kind is dict else (words,)
    expected = {"words": ["Paris"]} if kind is dict else (["Paris"],)

    def ask() -> Any:
        return runtime.cached_llm_call("p", "m", {}, lambda: result)

    ask()
    words.append("changed where it was handed in")
    found = ask()
    assert found == expected
    (found["words"] if kind is dict else found[0]).append("changed where it was handed out")
    assert ask() == expected


def test_a_change_of_the_params_after_the_call_changes_no_key(runtime: Runtime) -> None:
    model = FakeModel()
    params = {"stop": ["a"]}
    runtime.cached_llm_call("p", "m", params, model.call)
    params["stop"].append("b")
    runtime.cached_llm_call("p", "m", params, model.call)
    runtime.cached_llm_call("p", "m", {"stop": ["a"]}, model.call)
    assert model.count == 2


class Text(str):
    """Looks like text and may mean more."""


UNCACHEABLE: list[tuple[Any, Any]] = [
    ("p", {"temperature": float("nan")}),
    ("p", {"temperature": float("inf")}),
    ("p", {"stop": ("a", "b")}),
    ("p", {"image": b"png"}),
    ("p", {"tools": {"set"}}),
    ("p", {1: "a key that is no string"}),
    ("p", {"nested": {"deep": [object()]}}),
    ("p", ["not", "a mapping"]),
    (Text("p"), {}),
    (b"p", {}),
    (("p",), {}),
    ([{"role": "user", "content": {"set"}}], {}),
    ("a lone surrogate \ud800", {}),
    ("p", {"stop": "\ud800"}),
    (float("nan"), {}),
]


@pytest.mark.parametrize(("prompt", "params"), UNCACHEABLE, ids=range(len(UNCACHEABLE)))
def test_a_question_that_is_not_json_is_asked_every_time_and_counted(
    runtime: Runtime, prompt: Any, params: Any
) -> None:
    model = FakeModel(reply="fresh")
    for _ in range(2):
        assert runtime.cached_llm_call(prompt, "m", params, model.call) == "fresh"
    assert model.count == 2
    stats = runtime.stats()
    assert stats["cache"]["not_stored"] == {"not_json": 2}
    assert (stats["cache"]["misses"], stats["cache"]["size"]) == (0, 0)
    assert stats["metrics"]["total_calls"] == 2


def test_a_result_that_refuses_to_be_copied_is_its_callers_alone(runtime: Runtime) -> None:
    results = [Bottomless(), Bottomless()]
    waiting = iter(results)
    asked = [runtime.cached_llm_call("p", "m", {}, lambda: next(waiting)) for _ in range(2)]
    assert asked[0] is results[0]
    assert asked[1] is results[1]
    assert runtime.stats()["cache"]["not_stored"] == {"not_copyable": 2}


def test_an_answer_under_way_when_the_cache_is_cleared_is_not_stored(runtime: Runtime) -> None:
    def clear_and_answer() -> str:
        assert runtime.clear() == 0
        return "old"

    assert runtime.cached_llm_call("p", "m", {}, clear_and_answer) == "old"
    assert runtime.cached_llm_call("p", "m", {}, lambda: "young") == "young"
    assert runtime.stats()["cache"]["not_stored"] == {"cleared": 1}


def test_namespaces_share_no_answers(runtime: Runtime) -> None:
    for namespace in ("", "a", "b"):
        kept = runtime.cached_llm_call("p", "m", {}, lambda n=namespace: n, namespace=namespace)
        assert kept == namespace
    assert runtime.cached_llm_call("p", "m", {}, lambda: "new", namespace="a") == "a"


def test_an_answer_lives_for_its_time_and_not_longer(clock: FakeClock) -> None:
    model = FakeModel()
    with configured(clock, ttl=60.0) as runtime:
        runtime.cached_llm_call("p", "m", {}, model.call)
        clock.advance(59.9)
        runtime.cached_llm_call("p", "m", {}, model.call)
        assert model.count == 1
        clock.advance(0.1)
        runtime.cached_llm_call("p", "m", {}, model.call)
        assert model.count == 2


def test_a_jump_of_the_wall_clock_neither_revives_nor_kills(clock: FakeClock) -> None:
    model = FakeModel()
    with configured(clock, ttl=60.0) as runtime:
        runtime.cached_llm_call("p", "m", {}, model.call)
        clock.jump_wall(7200)
        runtime.cached_llm_call("p", "m", {}, model.call)
        assert model.count == 1
        clock.advance(60)
        clock.jump_wall(-14400)
        runtime.cached_llm_call("p", "m", {}, model.call)
        assert model.count == 2


def test_each_model_may_have_its_own_time_to_live(clock: FakeClock) -> None:
    models = {"short": ModelCacheConfig(ttl=10.0), "long": ModelCacheConfig(ttl=100.0)}
    asked: list[str] = []
    with configured(clock, ttl=50.0, models=models) as runtime:
        for wait_s in (0, 10, 40, 50):
            clock.advance(wait_s)
            for name in ("short", "usual", "long"):
                runtime.cached_llm_call("p", name, {}, lambda n=name: asked.append(n))
    assert [asked.count(name) for name in ("short", "usual", "long")] == [4, 3, 2]


@pytest.mark.parametrize(
    ("enabled", "own", "expected"), [(True, False, "mxx"), (False, True, "xmm")]
)
def test_a_model_may_be_switched_off_or_on_alone(enabled: bool, own: bool, expected: str) -> None:
    asked: list[str] = []
    with configured(enabled=enabled, models={"x": ModelCacheConfig(enabled=own)}) as runtime:
        for name in expected[:2] * 2:
            runtime.cached_llm_call("p", name, {}, lambda n=name: asked.append(n))
        assert runtime.stats()["cache"]["not_stored"] == {"disabled": 2}
    assert "".join(asked) == expected


def test_a_caller_may_ask_for_a_shorter_life_and_not_for_a_longer(
    runtime: Runtime, clock: FakeClock
) -> None:
    model = FakeModel()

    def ask(**more: Any) -> int:
        runtime.cached_llm_call("p", "m", {}, model.call, **more)
        return model.count

    assert ask(ttl=10) == 1
    clock.advance(9)
    assert ask(ttl=10) == 1
    clock.advance(1)
    assert ask() == 2
    clock.advance(30)
    assert (ask(ttl=60), ask(ttl=30)) == (2, 3)
    assert ask(ttl=1e9) == 3
    clock.advance(3600)
    assert ask(ttl=1e9) == 4


def test_the_least_recently_used_answer_goes_first() -> None:
    asked: list[str] = []
    with configured(maxsize=2) as runtime:
        for prompt in "abacab":
            runtime.cached_llm_call(prompt, "m", {}, lambda p=prompt: asked.append(p))
        assert runtime.stats()["cache"]["evictions"] == 2
    assert asked == list("abcb")


def test_tokens_are_counted_once_for_an_answer_however_often_it_is_given(runtime: Runtime) -> None:
    answer = {"text": "Paris", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
    for _ in range(3):
        runtime.cached_llm_call("p", "m", {}, lambda: answer)
    assert runtime.stats()["metrics"]["by_model"]["m"]["tokens"] == 10


def test_the_latency_of_a_call_is_measured(runtime: Runtime, clock: FakeClock) -> None:
    runtime.cached_llm_call("p", "m", {}, lambda: clock.advance(0.3))
    assert runtime.stats()["metrics"]["by_model"]["m"]["latency_avg"] == pytest.approx(300)
    runtime.cached_llm_call("p", "m", {}, lambda: None)
    assert runtime.stats()["metrics"]["by_model"]["m"]["latency_avg"] == pytest.approx(150)


def test_a_sync_callable_runs_in_its_callers_thread_and_context(runtime: Runtime) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")
    user.set("ada")
    seen = runtime.cached_llm_call("p", "m", {}, lambda: [threading.get_ident(), user.get()])
    assert seen == [threading.get_ident(), "ada"]


def test_an_async_callable_runs_in_its_callers_loop_and_context(runtime: Runtime) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    async def ask(name: str) -> None:
        user.set(name)

        async def where() -> list[Any]:
            await asyncio.sleep(0)
            return [id(asyncio.get_running_loop()), user.get()]

        seen = await runtime.acached_llm_call(name, "m", {}, where)
        assert seen == [id(asyncio.get_running_loop()), name]

    for name in ("ada", "grace"):  # each in a loop of its own
        asyncio.run(ask(name))


def test_a_coroutine_function_given_to_the_sync_call_is_a_mistake(runtime: Runtime) -> None:
    async def ask() -> str:
        return "never awaited"

    with pytest.raises(TypeError, match="acached_llm_call"):
        runtime.cached_llm_call("p", "m", {}, ask)


def test_a_callable_may_ask_the_same_question_again(runtime: Runtime) -> None:
    def outer() -> str:
        return "outer and " + runtime.cached_llm_call("p", "m", {}, lambda: "inner")

    assert runtime.cached_llm_call("p", "m", {}, outer) == "outer and inner"


def test_an_async_callable_may_ask_the_same_question_again(runtime: Runtime) -> None:
    async def inner() -> str:
        return "inner"

    async def outer() -> str:
        return "outer and " + await runtime.acached_llm_call("p", "m", {}, inner)

    assert asyncio.run(runtime.acached_llm_call("p", "m", {}, outer)) == "outer and inner"


def test_a_closed_runtime_answers_from_memory_and_asks_nobody() -> None:
    model = FakeModel(reply="kept")
    runtime = Runtime()
    runtime.cached_llm_call("p", "m", {}, model.call)
    runtime.close()
    runtime.close()
    assert runtime.cached_llm_call("p", "m", {}, model.call) == "kept"
    with pytest.raises(Closed) as refused:
        runtime.cached_llm_call("another", "m", {}, model.call)
    with pytest.raises(Closed):
        asyncio.run(runtime.acached_llm_call("another", "m", {}, model.acall))
    assert (refused.value.sent, model.count) == (False, 1)


def test_a_runtime_is_a_context_manager_of_both_kinds() -> None:
    with Runtime() as runtime:
        pass
    with pytest.raises(Closed):
        runtime.cached_llm_call("p", "m", {}, lambda: 1)

    async def use() -> Runtime:
        async with Runtime() as runtime:
            await runtime.acached_llm_call("p", "m", {}, FakeModel().acall)
        return runtime

    with pytest.raises(Closed):
        asyncio.run(use()).cached_llm_call("another", "m", {}, lambda: 1)


FORK = """
import os
from headgate.runtime import Runtime

runtime = Runtime()
runtime.cached_llm_call("asked before", "m", {}, lambda: os.getpid())
child = os.fork()
if not child:
    kept = runtime.cached_llm_call("asked before", "m", {}, lambda: os.getpid())
    fresh = runtime.cached_llm_call("asked after", "m", {}, lambda: os.getpid())
    runtime.close()
    os._exit(0 if (kept, fresh) == (os.getppid(), os.getpid()) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert runtime.cached_llm_call("asked after", "m", {}, lambda: os.getpid()) == os.getpid()
runtime.close()
"""


def test_after_a_fork_parent_and_child_go_on_apart() -> None:
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
