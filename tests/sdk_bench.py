"""Official SDKs on the transport of one runtime, in front of the fake provider: what the checks in
`sdk_checks_*.py` are written against. Imports headgate, the SDKs and the standard library only, as
it also runs in an environment of older SDKs.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai

from headgate.runtime import Runtime
from headgate.testing import FakeProvider

QUESTION: Any = [{"role": "user", "content": "How do I reset my card?"}]
THREADS = 32
"""As many sync calls can be under way at once; asyncio's own number is small on a small machine."""
MESSAGE: Any = {"model": "m", "max_tokens": 100, "messages": QUESTION}


class Bench:
    """Clients of one kind (library, sync or async), a runtime and a running provider."""

    def __init__(
        self, library: str, asynchronous: bool, provider: FakeProvider, runtime: Runtime
    ) -> None:
        self.library = library
        self.asynchronous = asynchronous
        self.provider = provider
        self.runtime = runtime
        self._clients: list[Any] = []

    def http_client(self) -> Any:
        return self.runtime.http_client(self.asynchronous, self.library)

    def openai(self, **more: Any) -> Any:
        """An OpenAI client through the runtime, or what `more` replaces of it."""
        kind = openai.AsyncOpenAI if self.asynchronous else openai.OpenAI
        settings = {"api_key": "k", "max_retries": 0, **more}
        settings.setdefault("base_url", self.provider.base_url)
        return self._kept(kind, settings)

    def anthropic(self, **more: Any) -> Any:
        """As `openai`, of the other SDK."""
        kind = anthropic.AsyncAnthropic if self.asynchronous else anthropic.Anthropic
        settings = {"api_key": "k", "max_retries": 0, **more}
        settings.setdefault("base_url", self.provider.anthropic_base_url)
        return self._kept(kind, settings)

    def _kept(self, kind: Any, settings: dict[str, Any]) -> Any:
        client = kind(**{"http_client": self.http_client(), **settings})
        self._clients.append(client)
        return client

    @property
    def asked(self) -> int:
        """How many requests reached the provider."""
        return len(self.provider.calls)

    async def begun(self, ask: Callable[[], Any]) -> asyncio.Future[Any]:
        """`ask()` under way."""
        return asyncio.ensure_future(ask() if self.asynchronous else asyncio.to_thread(ask))

    async def under_way(self, count: int) -> None:
        """Returns once so many requests have joined a call or begun one."""
        while await asyncio.wrap_future(self.runtime.portal.spawn(_under_way)) < count:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Closes the clients; the runtime is its owner's."""
        for client in self._clients:
            await settled(client.close())


async def _under_way() -> int:
    """On the home loop, where a request joins another in the first step of its task."""
    await asyncio.sleep(0)
    names = [str(task.get_coro()) for task in asyncio.all_tasks()]
    return sum("Errand._put_through" in name for name in names)


async def failure(kind: type[Exception], ask: Callable[[], Any]) -> Any:
    """The exception that `ask()` ends with."""
    try:
        await settled(ask())
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}")


async def settled(value: Any) -> Any:
    """What a sync call returned, or what an async one returns."""
    return await value if inspect.isawaitable(value) else value


async def drained(stream: Any) -> list[Any]:
    """Everything that a sync or async stream gives."""
    if hasattr(stream, "__aiter__"):
        return [item async for item in stream]
    return list(stream)


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """A sync or async context manager."""
    if hasattr(manager, "__aenter__"):
        async with manager as inside:
            yield inside
    else:
        with manager as inside:
            yield inside


Check = Callable[[Bench], Awaitable[None]]


def run_check(check: Check, library: str, asynchronous: bool) -> None:
    """Runs one check in a loop of its own; what nobody awaited, closed or caught fails it."""
    stray: list[str] = []
    usual = sys.unraisablehook
    sys.unraisablehook = lambda told: stray.append(f"{told.exc_value!r} in {told.object!r}")
    listener = _Listener(stray)
    logging.getLogger("asyncio").addHandler(listener)
    gc.freeze()  # what was there before needs no look: the SDKs alone are a million objects
    try:
        asyncio.run(_run(check, library, asynchronous))
        gc.collect()
    finally:
        gc.unfreeze()
        logging.getLogger("asyncio").removeHandler(listener)
        sys.unraisablehook = usual
    assert not stray, stray


async def _run(check: Check, library: str, asynchronous: bool) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    with FakeProvider() as provider:
        async with Runtime() as runtime, opened(library, asynchronous, provider, runtime) as bench:
            await check(bench)


@asynccontextmanager
async def opened(
    library: str, asynchronous: bool, provider: FakeProvider, runtime: Runtime
) -> AsyncIterator[Bench]:
    """A bench whose clients are closed in the end."""
    bench = Bench(library, asynchronous, provider, runtime)
    try:
        yield bench
    finally:
        await bench.close()


class _Listener(logging.Handler):
    """Collects what asyncio complains about: exceptions never retrieved, tasks destroyed."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())
