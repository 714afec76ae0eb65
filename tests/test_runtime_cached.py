"""The decorator: whose arguments are a question, and which functions answer for one another."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from headgate.runtime import Runtime
from headgate.testing import FakeModel


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime() as runtime:
        yield runtime


def test_a_function_runs_once_for_equal_arguments_however_they_are_given(runtime: Runtime) -> None:
    runs = []

    @runtime.cached(model="m")
    def translate(text: str, language: str = "French") -> str:
        runs.append(text)
        return f"{text} in {language}"

    told = [translate("hi"), translate(text="hi"), translate("hi", language="French")]
    assert told == ["hi in French"] * 3
    assert translate("hi", "Dutch") == "hi in Dutch"
    assert runs == ["hi", "hi"]
    assert list(runtime.stats()["metrics"]["by_model"]) == ["m"]


def test_an_async_function_is_cached_too(runtime: Runtime) -> None:
    model = FakeModel(reply="Lima")

    @runtime.cached()
    async def capital(country: str) -> Any:
        return await model.acall(country)

    assert [asyncio.run(capital("Peru")) for _ in range(2)] == ["Lima"] * 2
    assert model.count == 1


def test_functions_of_one_name_never_answer_for_one_another(runtime: Runtime) -> None:
    def times(factor: int) -> Callable[[int], int]:
        @runtime.cached()
        def multiplied(number: int) -> int:
            return number * factor

        return multiplied

    assert [times(2)(3), times(3)(3)] == [6, 9]
    lambdas = [runtime.cached()(lambda _: "one"), runtime.cached()(lambda _: "two")]
    assert [ask("q") for ask in lambdas] == ["one", "two"]


def test_methods_of_two_objects_never_answer_for_one_another(runtime: Runtime) -> None:
    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, question: str) -> str:
            return f"{self.name} on {question}"

    asked = [runtime.cached()(Model(name).ask)("q") for name in ("first", "second")]
    assert asked == ["first on q", "second on q"]


def test_one_function_decorated_twice_shares_its_answers(runtime: Runtime) -> None:
    model = FakeModel(reply="Lima")

    def capital(country: str) -> Any:
        return model.call(country)

    assert [runtime.cached()(capital)("Peru") for _ in range(2)] == ["Lima"] * 2
    assert model.count == 1


def test_what_cannot_be_a_question_is_refused_by_name(runtime: Runtime) -> None:
    def words() -> Iterator[str]:
        yield "one"

    async def awords() -> AsyncIterator[str]:
        yield "one"

    for generator in (words, awords):
        with pytest.raises(TypeError, match="is a generator"):
            runtime.cached()(generator)
    with pytest.raises(TypeError, match="decorate a function"):
        runtime.cached()(functools.partial(print, "x"))


def test_arguments_that_do_not_fit_are_refused_as_python_does(runtime: Runtime) -> None:
    @runtime.cached()
    def echo(text: str) -> str:
        return text

    with pytest.raises(TypeError, match="text"):
        echo()  # type: ignore[call-arg]
