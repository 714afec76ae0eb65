"""A small HTTP/1.1 server on a loopback socket, in a thread of its own: the machinery below
`headgate.testing.FakeProvider`. It does what a `Plan` says and decides nothing.
"""

from __future__ import annotations

import asyncio
import http
import json
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from msgspec import Struct

from headgate.types import Headers

T = TypeVar("T")
HEAD_BYTES_MAX = 65_536
_BODY_BYTES_MAX = 64_000_000
_STOP_TIMEOUT_S = 10.0


class Recorded(Struct, frozen=True):
    """One request as it arrived. Header names are lower case; `body` is the parsed JSON, or None
    where it is none; `raw` is its exact bytes; `path` includes the query string."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes


class Plan(Struct, frozen=True):
    """What to do about one request. Delays are real seconds."""

    status: int = 200
    headers: Headers = ()
    pieces: tuple[bytes, ...] = ()
    streamed: bool = False
    """One HTTP chunk per piece, instead of one body of a declared length."""
    delay_s: float = 0.0
    piece_delay_s: float = 0.0
    """Before every piece but the first."""
    stops: str = ""
    """`cut` closes the connection, `hang` says no more; "" sends the whole answer."""
    stops_after: int | None = None
    """Bytes of body sent before it stops; None: not even the head is sent."""


class Journal(Generic[T]):
    """What arrived, in order; any thread may write, any may wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: list[T] = []

    def add(self, item: T) -> None:
        """Writes one more down and wakes who waits for it."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def items(self) -> list[T]:
        """All so far, oldest first; a list of the caller's own."""
        with self._changed:
            return list(self._items)

    def wait_for(self, count: int, timeout_s: float, what: str) -> list[T]:
        """Blocks until there are `count`. Raises TimeoutError saying how many of `what` came."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._items) >= count, timeout_s):
                raise TimeoutError(f"{len(self._items)} of {count} {what} in {timeout_s:g} s")
            return list(self._items)


class Malformed(Exception):
    """Not HTTP as this server speaks it: the connection is closed."""


class LoopThread:
    """An event loop in a thread of its own, for a server in a test's process.

    `serve` runs in it until `close`; then it and every task among `tasks` are cancelled.
    """

    def __init__(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        # Not the policy's: a program that prefers another loop must not change what a cut looks
        # like on the wire.
        self.loop = asyncio.SelectorEventLoop()
        self.tasks: set[asyncio.Task[None]] = set()
        self._serve = serve
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="headgate-fake", daemon=True)
        self._thread.start()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` beside the rest; in the thread itself only."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, run there; from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(_STOP_TIMEOUT_S)

    def close(self) -> None:
        """Ends the thread; returns when it has ended."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._live())
        finally:
            self.loop.close()

    async def _live(self) -> None:
        serving = self.loop.create_task(self._serve())
        await self._stopping.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # One more turn of the loop: transports let go of their sockets in it.
        await asyncio.sleep(0)


class LoopbackServer:
    """Serves until closed. `plan_for` is called in the server's thread, once per request."""

    def __init__(self, plan_for: Callable[[Recorded], Plan], on_left: Callable[[], None]) -> None:
        self._plan_for = plan_for
        self._on_left = on_left
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._gate = asyncio.Event()
        self._gate.set()
        self._thread = LoopThread(self._serve)

    def hold(self) -> None:
        """Answers wait from now on."""
        self._thread.loop.call_soon_threadsafe(self._gate.clear)

    def release(self) -> None:
        """Lets every waiting answer go, and later ones pass."""
        self._thread.loop.call_soon_threadsafe(self._gate.set)

    def close(self) -> None:
        """Cuts every connection and ends the thread; returns when it has ended."""
        self._thread.close()
        # A thread that was ended before it began to serve has not closed it.
        self._socket.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._connection, sock=self._socket, limit=HEAD_BYTES_MAX
        )
        try:
            await asyncio.Event().wait()
        finally:
            server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._thread.tasks.add(task)
        # Every byte handed over leaves before `drain` returns: a cut then falls where it should. It
        # leaves at once: asyncio sets this option only on sockets that name their protocol, and
        # without it each answer on a used connection took 44 ms (delayed acknowledgement).
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.transport.set_write_buffer_limits(0)
        try:
            await self._converse(reader, writer)
        except asyncio.CancelledError:
            # The server stops. Swallowed: nobody waits for this task but its thread, which asked.
            writer.transport.abort()
        except (OSError, EOFError, asyncio.LimitOverrunError, Malformed):
            # The client broke off, or does not speak HTTP: an end like any other.
            writer.transport.abort()
        finally:
            self._thread.tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        early: bytes | None = b""
        while early is not None:
            request = await read_request(reader, writer, early)
            if request is None:
                return
            plan = self._plan_for(request)
            early = await self._unless_left(reader, self._answer(plan, writer))
            if plan.stops or request.headers.get("connection", "").lower() == "close":
                return

    async def _unless_left(
        self, reader: asyncio.StreamReader, answering: Coroutine[Any, Any, None]
    ) -> bytes | None:
        """Runs `answering` while the client stays. The first byte of a next request that came
        meanwhile (else b""); None when the client left, which breaks the answer off."""
        work = asyncio.ensure_future(answering)
        watch = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            early = watch.result() if watch.done() and not watch.exception() else b""
            if early:
                await asyncio.wait({work})
            if work.done() and not work.exception():
                return early
            self._on_left()
            return None
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _answer(self, plan: Plan, writer: asyncio.StreamWriter) -> None:
        await self._gate.wait()
        await asyncio.sleep(plan.delay_s)
        if not plan.stops:
            await _send(plan, plan.pieces, writer)
            return
        if plan.stops_after is not None:
            await _send(plan, _first_bytes(plan.pieces, plan.stops_after), writer)
        if plan.stops == "hang":
            await asyncio.Event().wait()


async def _send(plan: Plan, pieces: tuple[bytes, ...], writer: asyncio.StreamWriter) -> None:
    writer.write(_head(plan))
    await writer.drain()
    for number, piece in enumerate(pieces):
        if number:
            await asyncio.sleep(plan.piece_delay_s)
        if piece:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if plan.streamed else piece)
            await writer.drain()
    if plan.streamed and not plan.stops:
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _head(plan: Plan) -> bytes:
    reasons = {status.value: status.phrase for status in http.HTTPStatus}
    lines = [f"HTTP/1.1 {plan.status} {reasons.get(plan.status, 'Unknown')}".encode()]
    lines += [name + b": " + value for name, value in plan.headers]
    size = sum(len(piece) for piece in plan.pieces)
    lines.append(b"transfer-encoding: chunked" if plan.streamed else b"content-length: %d" % size)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _first_bytes(pieces: tuple[bytes, ...], count: int) -> tuple[bytes, ...]:
    kept = []
    for piece in pieces:
        kept.append(piece[:count])
        count -= len(kept[-1])
    return tuple(kept)


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, early: bytes
) -> Recorded | None:
    """The next request of a connection; None when the client closed it between two. `early` are
    bytes of it that were read before. Raises Malformed, EOFError, LimitOverrunError, OSError."""
    try:
        head = early + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as cut:
        if cut.partial or early:
            raise
        return None
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise Malformed(f"not a request line: {first!r}")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    raw = await _read_body(reader, headers)
    return Recorded(words[0], words[1], headers, _parsed(raw), raw)


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(_size(headers.get("content-length", "0"), 10))
    body = bytearray()
    while True:
        line = (await reader.readuntil(b"\r\n")).decode("latin-1")
        size = _size(line.partition(";")[0].strip(), 16)
        body += await reader.readexactly(size)
        if len(body) > _BODY_BYTES_MAX:
            raise Malformed("body too large")
        await reader.readuntil(b"\r\n")
        if size == 0:
            return bytes(body)


def _size(text: str, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError:
        raise Malformed(f"not a length: {text!r}") from None
    if not 0 <= size <= _BODY_BYTES_MAX:
        raise Malformed(f"length out of bounds: {size}")
    return size


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
