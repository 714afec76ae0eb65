"""Many calls at once: at most so many under way, and each answer in the place of its question.

Prompts are never merged into one request. Knows neither cache nor provider: what it asks through
does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from msgspec import Struct

CONCURRENCY = 16


class BatchProgress(Struct, frozen=True):
    """How far a batch has come."""

    done: int
    """Prompts that have their answer or their error."""
    failed: int
    total: int


class BatchOptions(TypedDict, total=False):
    """What `Runtime.batch_execute` takes by name."""

    concurrency: int
    """Calls under way at a time, at least 1; 16."""
    progress: Callable[[BatchProgress], object] | None
    """Called in the caller's event loop after each prompt; what it raises ends the batch."""
    return_exceptions: bool
    """True (as if not given): an exception stands in the place of its answer. False: the first one
    ends the batch and is raised, when all other calls have been cancelled."""
    namespace: str
    ttl: float | None


async def execute(
    runtime: Any,
    prompts: Iterable[Any],
    model: str,
    call_func: Callable[[Any], Awaitable[Any]],
    params: Mapping[str, Any] | None,
    **options: Unpack[BatchOptions],
) -> list[Any]:
    """See `Runtime.batch_execute`."""
    namespace, ttl = options.get("namespace", ""), options.get("ttl")

    def ask(prompt: Any) -> Awaitable[Any]:
        answer: Awaitable[Any] = runtime.acached_llm_call(
            prompt, model, params, lambda: call_func(prompt), namespace=namespace, ttl=ttl
        )
        return answer

    return await bounded(
        list(prompts),
        ask,
        options.get("concurrency", CONCURRENCY),
        progress=options.get("progress"),
        return_exceptions=options.get("return_exceptions", True),
    )


async def bounded(
    items: Sequence[Any],
    ask: Callable[[Any], Awaitable[Any]],
    concurrency: int,
    *,
    progress: Callable[[BatchProgress], object] | None = None,
    return_exceptions: bool = True,
) -> list[Any]:
    """What `ask` says to each of `items`, in their order. Raises ValueError for a `concurrency`
    below 1. When it is cancelled, or ends early, nothing of it is under way any more."""
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    batch = _Batch(items, ask, progress, return_exceptions)
    await batch.run(min(concurrency, len(items)))
    return batch.outcomes


class _Batch:
    """One list of items; as many workers as may be under way take the next one each."""

    def __init__(
        self,
        items: Sequence[Any],
        ask: Callable[[Any], Awaitable[Any]],
        progress: Callable[[BatchProgress], object] | None,
        return_exceptions: bool,
    ) -> None:
        self.outcomes: list[Any] = [None] * len(items)
        self._waiting = iter(enumerate(items))
        self._ask, self._progress = ask, progress
        self._return_exceptions = return_exceptions
        self._done = self._failed = 0

    async def run(self, workers: int) -> None:
        ended: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work())
        except BaseExceptionGroup as several:
            ended = several.exceptions[0]
        if isinstance(ended, _Ended):
            ended = ended.error
        if ended is not None:
            raise ended

    async def _work(self) -> None:
        for at, item in self._waiting:
            # A task of its own: what is cancelled in there, by itself, is an error like another.
            outcomes = await asyncio.gather(self._ask(item), return_exceptions=True)
            self.outcomes[at] = outcome = outcomes[0]
            self._done += 1
            if isinstance(outcome, BaseException):
                self._failed += 1
                if not self._return_exceptions:
                    raise _Ended(outcome)
            if self._progress is not None:
                self._progress(BatchProgress(self._done, self._failed, len(self.outcomes)))


class _Ended(Exception):
    """Carries the error that ends a batch, of whatever kind, through a group of tasks."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error
