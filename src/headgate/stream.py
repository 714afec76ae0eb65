"""The bodies of replies: a whole answer, a stream of chunks (live or stored), a Python value, and a
tap on them.

A body is iterated at most once and closed any number of times. `Tap` is a class and not an async
generator on purpose: a generator that was never started does not run its `finally` on `aclose()`
(tried on CPython 3.11), so a reply nobody read would never report its end.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from headgate.core.canonical import is_json
from headgate.core.sse import split
from headgate.core.verdict import Verdict
from headgate.errors import UpstreamTimeout
from headgate.types import Body, Entry, Reply


class Whole:
    """A complete answer, already here. `content` is its exact bytes; `verdict` what the attempt
    that brought it found in it."""

    __slots__ = ("_read", "content", "verdict")

    def __init__(self, content: bytes, verdict: Verdict | None = None) -> None:
        self.content = content
        self.verdict = verdict
        self._read = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._read or not self.content:
            raise StopAsyncIteration
        self._read = True
        return self.content

    async def aclose(self) -> None:
        self._read = True


class Chunks:
    """A stream read from elsewhere; `close` lets go of whatever produces it, exactly once.
    `redact` is what an error in it must pass through before anybody sees it."""

    __slots__ = ("_close", "_iterator", "redact")

    def __init__(
        self,
        iterator: AsyncIterator[bytes],
        close: Callable[[], Awaitable[None]] | None = None,
        redact: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._iterator = iterator
        self._close = close
        self.redact = redact

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterator

    async def aclose(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            await close()


class Until:
    """A body that ends with UpstreamTimeout at `ends_s`, on the clock of the loop: what is here by
    then is still handed on. `deadline_s` is what the caller had asked for."""

    __slots__ = ("_body", "_deadline_s", "_ends_s", "_iterator")

    def __init__(self, body: Body, ends_s: float, deadline_s: float) -> None:
        self._body = body
        self._iterator: AsyncIterator[bytes] | None = None
        self._ends_s = ends_s
        self._deadline_s = deadline_s

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._iterator is None:
            self._iterator = self._body.__aiter__()
        try:
            async with asyncio.timeout_at(self._ends_s):
                return await self._iterator.__anext__()
        except TimeoutError:
            raise too_late(self._deadline_s) from None

    async def aclose(self) -> None:
        await self._body.aclose()


async def within(deadline_s: float, answer: Awaitable[Reply]) -> Reply:
    """The reply, if it comes within so many seconds from now; its stream ends by then, too. Raises
    UpstreamTimeout (total)."""
    ends_s = asyncio.get_running_loop().time() + deadline_s
    try:
        async with asyncio.timeout_at(ends_s):
            reply = await answer
    except TimeoutError:
        raise too_late(deadline_s) from None
    if isinstance(reply.body, Whole | Value):
        return reply
    return replace(reply, body=Until(reply.body, ends_s, deadline_s))


def too_late(deadline_s: float) -> UpstreamTimeout:
    """The error of a call whose caller has set a deadline, which has passed."""
    message = f"no answer within the caller's deadline of {deadline_s:g} s"
    return UpstreamTimeout(message, stage="total")


class UsageEvent(bytes):
    """An event that carries nothing but usage: withheld from a client that did not ask for it."""


class Recorded:
    """A stored stream: its events `pause_s` apart, or (0) in pieces of about `PIECE_BYTES`.

    `usage_at` is where the event stands that is left out; (0, 0) leaves out none.
    """

    __slots__ = ("_pause_s", "_pieces", "content")

    def __init__(self, content: bytes, usage_at: tuple[int, int], pause_s: float = 0.0) -> None:
        begin, end = usage_at
        self.content = content[:begin] + content[end:] if end else content
        self._pause_s = pause_s
        self._pieces: Iterator[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces is None:
            self._pieces = iter(split(self.content) if self._pause_s else pieces(self.content))
        elif self._pause_s:
            await asyncio.sleep(self._pause_s)
        piece = next(self._pieces, None)
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._pieces = iter(())


PIECE_BYTES = 65_536


def pieces(content: bytes) -> Iterator[bytes]:
    """`content` in pieces that end between two events, each of at most `PIECE_BYTES` where its
    events allow it."""
    begin = 0
    while len(content) - begin > PIECE_BYTES:
        border = content.rfind(b"\n\n", begin, begin + PIECE_BYTES)
        if border < 0:
            border = content.find(b"\n\n", begin)
        if border < 0:
            break
        yield content[begin : border + 2]
        begin = border + 2
    if begin < len(content):
        yield content[begin:]


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Value:
    """The result of a callable, in a form nobody can change afterwards.

    A JSON result is kept as its encoding (`content`): a copy costs one decode, about 0.3 us for
    1 KB. Any other is kept as a deep copy (`held`). One that refuses to be copied is `loose`: only
    its own caller may have it.
    """

    __slots__ = ("content", "held", "loose", "original")

    def __init__(self, original: Any, content: bytes | None, held: Any, loose: bool) -> None:
        self.original = original
        self.content = content
        self.held = held
        self.loose = loose

    @classmethod
    def of(cls, result: Any) -> Value:
        """`result` in the best form it allows: JSON, a deep copy, or loose."""
        if is_json(result):
            try:
                return cls(result, _encode(result), None, False)
            except UnicodeError:
                pass  # a lone surrogate: not JSON after all
        held = copied(result)
        if held is UNCOPIED:
            return cls(result, None, None, True)
        return cls(result, None, held, False)

    def copy(self) -> Any:
        """An equal value of its own; not for a loose one."""
        return copy.deepcopy(self.held) if self.content is None else _decode(self.content)

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise TypeError("the answer of a callable is a value, not a stream")

    async def aclose(self) -> None:
        """Nothing to let go of."""


def entry_value(entry: Entry) -> Any:
    """A fresh copy of a callable's stored result: decoded if it was JSON, else deep-copied;
    `UNCOPIED` where the object refuses now what it allowed when it was stored."""
    return _decode(entry.content) if entry.kind == "value" else copied(entry.held)


UNCOPIED: Any = object()
"""Stands for a copy that could not be made."""


def copied(original: Any) -> Any:
    """A deep copy, or `UNCOPIED`: a class may raise anything from its `__deepcopy__`, and that must
    not cost an answer that was paid for."""
    try:
        return copy.deepcopy(original)
    except Exception:  # noqa: BLE001
        return UNCOPIED


class Tap:
    """A body that tells `on_end` once how it ended, read or unread.

    `on_end(error)` gets None after the last chunk, the exception that broke the stream, or
    `GeneratorExit` when the reader left before the end.
    """

    __slots__ = ("_body", "_iterator", "_on_end")

    def __init__(self, body: Body, on_end: Callable[[BaseException | None], None]) -> None:
        self._body = body
        self._iterator: AsyncIterator[bytes] | None = None
        self._on_end: Callable[[BaseException | None], None] | None = on_end

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._iterator = self._body.__aiter__()
        return self

    async def __anext__(self) -> bytes:
        if self._iterator is None:
            self._iterator = self._body.__aiter__()
        try:
            return await self._iterator.__anext__()
        except StopAsyncIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise

    async def aclose(self) -> None:
        self._end(GeneratorExit())
        await self._body.aclose()

    def _end(self, error: BaseException | None) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(error)
