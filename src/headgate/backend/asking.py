"""One question through the runtime, as a whole answer or as a stream: the same plan, look-up and
stack as a request to the gateway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from msgspec import Struct

from headgate.admission import Plan
from headgate.admission_head import Head
from headgate.backend.dialects import Listener, Question, Said, said
from headgate.backend.served import declined
from headgate.core.sse import Splitter
from headgate.errors import UpstreamGarbled
from headgate.runtime import Runtime
from headgate.stream import Recorded, Whole
from headgate.surfaces.provenance import hit_headers, provenance_headers
from headgate.types import Body, Headers

_CONTROL = b"headgate-"
_CACHE_CONTROL = b"cache-control"


class Answer(Struct, frozen=True):
    """What was said, and where it came from."""

    said: Said
    cached: bool
    """Nobody was asked for it."""
    key: bytes
    headers: Headers = ()
    """`Cache-Status` and the like."""


class Stream:
    """A streamed answer: iterate it for its texts, then `answer` is there. Close it."""

    __slots__ = ("_body", "_listener", "cached", "headers", "key")

    def __init__(self, body: Body, operation: str, answer: tuple[bool, bytes, Headers]) -> None:
        self._body = body
        self._listener = Listener(operation)
        self.cached, self.key, self.headers = answer

    async def texts(self) -> AsyncIterator[str]:
        """The texts as they come. Raises what breaks the stream."""
        splitter = Splitter()
        async for piece in self._body:
            for event in splitter.feed(piece):
                text = self._listener.hear(event)
                if text:
                    yield text

    def answer(self) -> Answer:
        """Everything that was said."""
        return Answer(self._listener.said(), self.cached, self.key, self.headers)

    async def aclose(self) -> None:
        """Lets go of the provider."""
        await self._body.aclose()


class Asker:
    """Asks on behalf of the app. What a client sends to authenticate itself goes nowhere; of its
    headers only `Cache-Control` and `headgate-*` count."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def ask(self, question: Question, headers: Iterable[tuple[bytes, bytes]]) -> Answer:
        """The whole answer. Raises HeadgateError, an error of the provider included."""
        runtime = self._runtime
        head = self._head(question, headers)
        plan, entry = runtime.find(question.operation, head, question.body, b"")
        if entry is not None:
            told = hit_headers(entry, runtime.now_s(), runtime.ledger.saved_usd(entry))
            return Answer(said(question.operation, entry.content), True, plan.key, told)
        body, cached, told = await self._forward(question, head, plan)
        if not isinstance(body, Whole):
            await body.aclose()
            raise UpstreamGarbled("the provider answered with a stream that nobody asked for")
        return Answer(said(question.operation, body.content), cached, plan.key, told)

    async def stream(self, question: Question, headers: Iterable[tuple[bytes, bytes]]) -> Stream:
        """As `ask`, of a question that asks for a stream."""
        runtime = self._runtime
        head = self._head(question, headers)
        plan, entry = runtime.find(question.operation, head, question.body, b"")
        if entry is not None:
            told = hit_headers(entry, runtime.now_s(), runtime.ledger.saved_usd(entry))
            body: Body = Recorded(entry.content, (0, 0))
            return Stream(body, question.operation, (True, plan.key, told))
        body, cached, told = await self._forward(question, head, plan)
        return Stream(body, question.operation, (cached, plan.key, told))

    async def forget(self, keys: list[bytes]) -> None:
        """Removes stored answers that turned out to be of no use."""
        for key in filter(None, keys):
            # One after the other: each looks into every tier.
            await self._runtime.off_loop(lambda key=key: self._runtime.clear(key=key))  # type: ignore[misc]

    def _head(self, question: Question, headers: Iterable[tuple[bytes, bytes]]) -> Head:
        said = [pair for pair in headers if pair[0] == _CACHE_CONTROL or pair[0][:9] == _CONTROL]
        return self._runtime.admission.head((*question.headers, *said))

    async def _forward(
        self, question: Question, head: Head, plan: Plan
    ) -> tuple[Body, bool, Headers]:
        if not self._runtime.portal.is_home():
            raise RuntimeError("a backend asks from the event loop in which it was opened")
        reply = await self._runtime.forward(question.path, head, question.body, plan)
        if reply.status >= 400:
            raise await declined(reply)
        cached = reply.provenance.hit or reply.provenance.forward == "stale"
        return reply.body, cached, provenance_headers(reply.provenance, plan.key)
