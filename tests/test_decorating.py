"""A function behind the two doors of a runtime; tests/test_runtime_cached.py has the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.decorating import decorated


class Doors:
    """Writes down what it is asked, and asks the function itself."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def cached_llm_call(self, prompt: Any, model: str, params: None, ask: Any, **more: Any) -> Any:
        self.asked.append((prompt, model, params, more))
        return ask()

    async def acached_llm_call(
        self, prompt: Any, model: str, params: None, ask: Any, **more: Any
    ) -> Any:
        return await self.cached_llm_call(prompt, model, params, ask, **more)


def double(n: int, *, by: int = 2) -> int:
    """Says what it is."""
    return n * by


async def adouble(n: int) -> int:
    return n * 2


def test_arguments_are_the_prompt_and_the_name_is_a_part_of_it() -> None:
    doors = Doors()
    function = decorated(doors, double, "here.double", "", namespace="a")
    assert (function(3), function.__doc__) == (6, "Says what it is.")
    question = {"function": "here.double", "arguments": {"n": 3, "by": 2}}
    assert doors.asked == [(question, "double", None, {"namespace": "a"})]


def test_an_async_function_goes_through_the_async_door() -> None:
    doors = Doors()
    assert asyncio.run(decorated(doors, adouble, "adouble", "m")(4)) == 8
    assert doors.asked[0][1] == "m"


def test_a_generator_is_refused() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="is a generator"):
        decorated(Doors(), numbers, "numbers", "m")
