"""One answer on its way out: head, body, end, and what its toxics do at which place of the body."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable, Iterator, Mapping

from headgate.faultserver.answers import (
    Prepared,
    error_event,
    is_refusal,
    ping,
    said_chars,
    tokens_out_of,
)
from headgate.faultserver.dice import Dice
from headgate.faultserver.line import Ended, Outgoing
from headgate.faultserver.toxics import (
    CutAt,
    Endless,
    ErrorEvent,
    Garbage,
    HalfOpen,
    ResetPeer,
    SlowHeaders,
    Stall,
    Timeout,
    Toxic,
)
from headgate.providers.fake_words import tokens_of_chars
from headgate.testing_server import Plan

Note = Callable[..., None]
"""Writes down what changed: `note(status=200)`."""
Placed = CutAt | Stall | Garbage | ErrorEvent | Endless
"""Toxics that act at a place in the body."""
_GARBAGE_BYTES = 16
_ENDLESS = b" " * 64


class Flow:
    """Sends one answer. Every method may raise `Ended`, and OSError when the client has gone."""

    def __init__(self, line: Outgoing, prepared: Prepared, note: Note, dice: Dice) -> None:
        self.is_deaf = False
        """Whether the client's leaving is to be overlooked."""
        self.is_begun = False
        """Whether any byte was sent."""
        self.ended = ""
        """How the body was ended, once its last byte has gone: `complete` or `clean`."""
        self.keeps_connection = True
        """Whether the client can tell the end of the answer without the connection being closed."""
        self._line = line
        self._operation = prepared.operation
        self._is_streamed = prepared.is_streamed
        self._note = note
        self._dice = dice
        self._armed: list[Placed] = []
        self._head_line_s = 0.0
        self._is_chunked = False
        self._sent_bytes = 0
        self._chunks = 0
        self._said_chars = 0
        self._last = _ENDLESS

    async def poison(self, toxic: Toxic) -> None:
        """From here on `toxic` acts."""
        if isinstance(toxic, Placed):
            self._armed.append(toxic)
            await self._befall()
        elif isinstance(toxic, SlowHeaders):
            self._head_line_s = toxic.every_s
        elif isinstance(toxic, Timeout | ResetPeer | HalfOpen):
            await self._give_up(toxic)
        else:
            self._line.poison(toxic)

    async def play(self, plan: Plan) -> None:
        """All of an answer."""
        await asyncio.sleep(plan.delay_s)
        await self.plan_head(plan)
        for number, piece in enumerate(plan.pieces):
            if number:
                await asyncio.sleep(plan.piece_delay_s)
            await self.body(piece)
        await self.end()

    async def plan_head(self, plan: Plan) -> None:
        """The head of an answer, unless one was sent. A whole answer that a toxic makes longer or
        shorter is sent in chunks: its length cannot be declared."""
        if self.is_begun:
            return
        is_chunked = plan.streamed or any(map(_resizes, self._armed))
        headers = {name.decode(): value.decode() for name, value in plan.headers}
        if not is_chunked:
            headers["content-length"] = str(sum(map(len, plan.pieces)))
        await self.head(plan.status, headers, is_chunked=is_chunked)
        if not plan.streamed and plan.status < 400:
            # It was complete before it was sent, and is billed even if nobody reads it.
            self._note(tokens_out=sum(map(tokens_out_of, plan.pieces)))
            if is_refusal(b"".join(plan.pieces)):
                self._note(tokens_in=0)

    async def head(self, status: int, headers: Mapping[str, str], *, is_chunked: bool) -> None:
        """Status line and headers."""
        await self._befall()
        self._is_chunked = is_chunked
        names = {name.lower() for name in headers}
        self.keeps_connection = is_chunked or "content-length" in names
        lines = list(head_lines(status, headers, is_chunked=is_chunked))
        for content in lines if self._head_line_s else [b"".join(lines)]:
            await self.raw(content)
            await asyncio.sleep(self._head_line_s)
        self._note(status=status)
        await self._befall()

    async def body(self, piece: bytes) -> None:
        """One piece of the body, with whatever is to happen before, inside and behind it."""
        self._last = piece or self._last
        self._said_chars += said_chars(piece) if self._is_streamed else 0
        while piece:
            room = self._bytes_until_next(len(piece))
            part, piece = piece[:room], piece[room:]
            await self._payload(part)
            self._sent_bytes += len(part)
            self._note(body_bytes=self._sent_bytes)
            if self._said_chars:
                self._note(tokens_out=tokens_of_chars(self._said_chars))
            if piece:
                await self._befall()
        self._chunks += 1
        self._note(chunks=self._chunks)
        await self._befall()

    async def raw(self, content: bytes) -> None:
        """Bytes for the wire as they are."""
        self.is_begun = True
        await self._line.send(content)

    async def end(self, how: str = "complete") -> None:
        """The end of the body as HTTP wants it, once; `clean` where the dialect wants more."""
        if self._is_chunked and not self.ended:
            await self._line.send(b"0\r\n\r\n")
        self.ended = self.ended or how

    async def _payload(self, content: bytes) -> None:
        framed = b"%x\r\n%b\r\n" % (len(content), content) if self._is_chunked else content
        await self.raw(framed)

    def _bytes_until_next(self, most: int) -> int:
        """How far to the next place at a byte; at least 1, because what was due has acted."""
        places = [place for toxic in self._armed if (place := _byte_of(toxic)) is not None]
        return min([most, *(place - self._sent_bytes for place in places)])

    async def _befall(self) -> None:
        """Lets every toxic act whose place has been reached, in the order of the script."""
        while due := next(filter(self._is_due, self._armed), None):
            self._armed.remove(due)
            if isinstance(due, CutAt):
                await self._cut(due)
            elif isinstance(due, Stall):
                await self._stall(due)
            elif isinstance(due, Garbage):
                content = due.content or self._dice.bytes(_GARBAGE_BYTES)
                await (self._payload(content) if due.is_framed else self.raw(content))
            elif isinstance(due, ErrorEvent):
                await self._fail(due)
            else:
                await self._go_on_for_ever(due)

    def _is_due(self, toxic: Placed) -> bool:
        if isinstance(toxic, CutAt) and toxic.after_bytes is None:
            return True
        place = _byte_of(toxic)
        reached = self._chunks >= _chunk_of(toxic) if place is None else self._sent_bytes >= place
        return self.is_begun and reached

    async def _cut(self, toxic: CutAt) -> None:
        if toxic.by == "stall":
            await asyncio.Event().wait()
        if toxic.by == "clean":
            await self.end("clean")
        raise Ended({"fin": "cut", "rst": "reset", "clean": "clean"}[toxic.by])

    async def _stall(self, toxic: Stall) -> None:
        try:
            async with asyncio.timeout(toxic.for_s):
                while toxic.ping_every_s:
                    await asyncio.sleep(toxic.ping_every_s)
                    await self._payload(ping(self._operation))
                await asyncio.Event().wait()
        except TimeoutError:
            pass

    async def _fail(self, toxic: ErrorEvent) -> None:
        if self._is_streamed and not self._said_chars:
            # It came in place of an answer: nothing was done, and nothing is billed.
            self._note(tokens_in=0)
        await self._payload(error_event(self._operation, toxic.status))
        if toxic.is_last:
            await self.end("clean")
            raise Ended("clean")

    async def _go_on_for_ever(self, toxic: Endless) -> None:
        while True:
            await self.body(toxic.piece or self._last)
            # A socket that takes everything would let nobody else have a turn.
            await asyncio.sleep(0)

    async def _give_up(self, toxic: Timeout | ResetPeer | HalfOpen) -> None:
        if isinstance(toxic, HalfOpen):
            self.is_deaf = True
            await asyncio.Event().wait()
        elif isinstance(toxic, Timeout) and toxic.after_s is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(toxic.after_s or 0)
        raise Ended("reset" if isinstance(toxic, ResetPeer) else "cut")


def head_lines(status: int, headers: Mapping[str, str], *, is_chunked: bool) -> Iterator[bytes]:
    """Status line, header lines and the empty line, each with its end."""
    reasons = {known.value: known.phrase for known in http.HTTPStatus}
    yield f"HTTP/1.1 {status} {reasons.get(status, 'Unknown')}\r\n".encode()
    for name, value in headers.items():
        yield f"{name}: {value}\r\n".encode("latin-1")
    yield b"transfer-encoding: chunked\r\n\r\n" if is_chunked else b"\r\n"


def _byte_of(toxic: Placed) -> int | None:
    """The byte of the body it waits for; None for one that waits for a chunk, or for nothing."""
    if isinstance(toxic, CutAt):
        return toxic.after_bytes
    return toxic.at_byte if isinstance(toxic, Stall | Garbage) else None


def _chunk_of(toxic: Placed) -> int:
    place = getattr(toxic, "at_chunk", None)
    return place or 0


def _resizes(toxic: Placed) -> bool:
    is_cut = isinstance(toxic, CutAt) and toxic.by != "clean"
    return not is_cut and not isinstance(toxic, Stall)
