"""`Runtime.cached`: a function whose arguments are the prompt, and its name a part of the key."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from headgate.invocation import bound_arguments

F = TypeVar("F", bound=Callable[..., Any])


def decorated(doors: Any, function: F, name: str, model: str, **more: Any) -> F:
    """`function` behind the cache of `doors`, a `Runtime`; `more` are keywords of its calls. Raises
    TypeError for a generator."""
    signature = inspect.signature(function)
    label = model or function.__qualname__
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{name} is a generator: cache the function that consumes it")

    def question(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"function": name, "arguments": bound_arguments(signature, args, kwargs)}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        asked = question(args, kwargs)
        return doors.cached_llm_call(asked, label, None, lambda: function(*args, **kwargs), **more)

    @functools.wraps(function)
    async def acall(*args: Any, **kwargs: Any) -> Any:
        asked = question(args, kwargs)
        return await doors.acached_llm_call(
            asked, label, None, lambda: function(*args, **kwargs), **more
        )

    return cast(F, acall if inspect.iscoroutinefunction(function) else call)
