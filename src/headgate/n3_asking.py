"""Asks the providers of a runtime from any thread and any event loop: what N3's `generate` and
`agenerate` come down to. Nothing here runs in the loop of a web server but waiting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from headgate.backend.asking import Answer, Asker, Stream
from headgate.backend.dialects import Question
from headgate.errors import Closed, UpstreamTimeout
from headgate.runtime import Runtime

T = TypeVar("T")


class Asking:
    """Puts questions through the stack of `runtime`, on its home loop."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._asker = Asker(runtime)

    def whole(self, question: Question, timeout_s: float | None = None) -> Answer:
        """The answer; waits for it. Raises HeadgateError, after `timeout_s` UpstreamTimeout."""
        return self._wait(lambda: self._asker.ask(question, ()), timeout_s)

    async def awhole(self, question: Question) -> Answer:
        """The answer. Raises HeadgateError."""
        return await self._awaited(lambda: self._asker.ask(question, ()))

    def texts(self, question: Question) -> Iterator[str]:
        """The texts of a streamed answer as they come; waits for each."""
        stream = self._wait(lambda: self._asker.stream(question, ()))
        texts = stream.texts()
        try:
            while (text := self._wait(lambda: _next(texts))) is not None:
                yield text
        finally:
            self._wait(lambda: _close(texts, stream))

    async def atexts(self, question: Question) -> AsyncIterator[str]:
        """As `texts`, without blocking anybody."""
        stream = await self._awaited(lambda: self._asker.stream(question, ()))
        texts = stream.texts()
        try:
            while (text := await self._awaited(lambda: _next(texts))) is not None:
                yield text
        finally:
            await self._awaited(lambda: _close(texts, stream))

    def _wait(
        self, work: Callable[[], Coroutine[Any, Any, T]], timeout_s: float | None = None
    ) -> T:
        answer = self.runtime.portal.spawn(work)
        try:
            return answer.result(timeout_s)
        except TimeoutError as error:
            if answer.done():
                raise
            message = f"no answer within the {timeout_s:g} s that its caller waits"
            raise UpstreamTimeout(message, stage="deadline") from error
        except CancelledError:
            raise Closed("the runtime was closed during this call") from None
        finally:
            answer.cancel()

    async def _awaited(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        portal = self.runtime.portal
        return await portal.wait(portal.spawn(work))


async def _next(texts: AsyncIterator[str]) -> str | None:
    return await anext(texts, None)


async def _close(texts: Any, stream: Stream) -> None:
    await texts.aclose()
    await stream.aclose()
