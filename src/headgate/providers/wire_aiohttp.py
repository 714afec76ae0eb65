"""The upstream client on aiohttp, and the only file that knows this library.

Everything the library would do on its own account is switched off here: redirects, proxies, netrc,
cookies, decompression, its default headers and its own time limits but one.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, cast

from aiohttp import (
    ClientConnectionResetError,
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientPayloadError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    InvalidURL,
    NonHttpUrlClientError,
    TCPConnector,
)
from yarl import URL

from headgate.errors import (
    BadRequest,
    Closed,
    StreamBroken,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from headgate.providers.wire import Upload, WireLimits, WireReply
from headgate.providers.wire_names import LookupTooSlow, Names
from headgate.providers.wire_socket import own_socket
from headgate.types import Headers

# An idle connection is let go before the 5 s after which uvicorn closes it, and with it most
# self-hosted servers: a request that meets the close on its way is lost. httpx keeps 5 s.
_POOL_IDLE_S = 4.0
# Connecting ends before the limit on the head does, so whichever passes names the right stage.
_CONNECT_SHARE = 0.9
# A body up to this size is written in one piece; the library warns of larger ones.
_ONE_PIECE_BYTES = 2**20
# How many connections that the server has closed a call may meet in the pool.
_STALE_MAX = 3
# A timer that rings so much too late says that this process was busy, not that the provider was
# silent: what came meanwhile waits in the socket.
_LAG_S = 0.02
_HEADERS = {"user-agent": "headgate", "accept-encoding": "identity"}
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class AiohttpWire:
    """A `Wire`; `open_wire` makes it.

    What the interface leaves open: `first_byte_s` counts from the start of `send`, connecting
    included; waiting for a free connection counts as connecting. A request that finds its pooled
    connection closed before a byte of it was written goes out on another one; the library does the
    same for a GET that was written.
    """

    def __init__(self, connections_max: int, names: Names | None = None) -> None:
        self._names = names or Names()
        self._connections_max = connections_max
        self._session: ClientSession | None = None
        self._is_closed = False

    async def send(
        self, method: str, url: str, headers: Headers, body: bytes | Upload, limits: WireLimits
    ) -> WireReply:
        """As `Wire.send`; also UpstreamGarbled (the head is not HTTP), BadRequest (a header that
        cannot be sent: nothing was) and Closed (after `aclose`)."""
        session = self._session or self._open()
        ends_s = asyncio.get_running_loop().time() + limits.total_s
        target = _parsed(url)
        try:
            async with _Silence(limits.first_byte_s):
                response = await _request(session, method, target, headers, body, limits)
        except ClientError as error:
            raise _before_head(error, body) from error
        except TimeoutError:
            message = f"no reply within {limits.first_byte_s:g} s"
            raise UpstreamTimeout(message, stage="first_token") from None
        except ValueError:
            # Not chained: the library's message may quote the value, which may be a credential.
            raise BadRequest("a header of the request cannot be sent over HTTP") from None
        return AiohttpReply(session, response, limits, ends_s)

    async def aclose(self) -> None:
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._names.close()

    def _open(self) -> ClientSession:
        """The library wants its pool made inside the loop that uses it."""
        if self._is_closed:
            raise Closed("the connections to this provider are closed")
        self._session = ClientSession(
            connector=TCPConnector(
                limit=self._connections_max,
                keepalive_timeout=_POOL_IDLE_S,
                socket_factory=own_socket,
                # Typed as the library's own class, of which it calls two methods.
                resolver=cast(Any, self._names),
            ),
            headers=_HEADERS,
            skip_auto_headers=("content-type",),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self._session


class AiohttpReply:
    """A `WireReply`; its body is read once, by `read` or by `chunks`."""

    def __init__(
        self, session: ClientSession, response: ClientResponse, limits: WireLimits, ends_s: float
    ) -> None:
        self.status = response.status
        # A list first: a generator would take a frame for each of them.
        self.headers: Headers = tuple(
            [(name.lower(), value) for name, value in response.raw_headers]
        )
        self._session = session
        self._response = response
        self._limits = limits
        self._ends_s = ends_s
        self._last_s = ends_s + limits.total_s
        """When it ends however late this process is."""
        self._size_bytes = 0
        self._is_cut = False
        self._connection_end = None if response.content.is_eof() else _connection_end(response)
        if self._connection_end is not None:
            self._connection_end.add_done_callback(self._note_end)

    async def read(self) -> bytes:
        pieces = []
        while piece := await self._next():
            pieces.append(piece)
        return b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        while piece := await self._next():
            yield piece

    async def aclose(self) -> None:
        if self._connection_end is not None:
            self._connection_end.remove_done_callback(self._note_end)
            self._connection_end = None
        self._response.close()

    def _note_end(self, end: asyncio.Future[None]) -> None:
        """Marks a body cut off where the library does not (3.14.5): after bytes that are no chunk,
        and when the pool is closed, it never wakes the reader; a reset, or our own closing, is to
        it the end of a body without a declared length."""
        content = self._response.content
        if any(name in _FRAMING for name, _ in self.headers):
            self._is_cut = not content.is_eof()
        else:
            self._is_cut = end.exception() is not None or self._session.closed
        if self._is_cut and content.exception() is None:
            content.set_exception(ClientPayloadError("connection lost"))

    async def _next(self) -> bytes:
        """What has arrived of the body, waiting for it if nothing has; empty after the last."""
        content = self._response.content
        limits = self._limits
        try:
            # A body that is here already, as short answers are with their head, needs no timer.
            piece = content.read_nowait() if content.is_eof() else await self._arrival()
        except ClientError as error:
            raise StreamBroken(f"the reply was cut off: {_why(error)}") from error
        if self._is_cut and not piece:
            raise StreamBroken("the reply was cut off")
        self._size_bytes += len(piece)
        if self._size_bytes > limits.reply_max_bytes:
            raise UpstreamTooLarge(f"the reply is larger than {limits.reply_max_bytes} bytes")
        return piece

    async def _arrival(self) -> bytes:
        """The next bytes. Time in which this process did something else is no silence of the
        provider's and is given back: of the whole reply's at most as much again as it has."""
        limits = self._limits
        now_s = asyncio.get_running_loop().time
        begun_s = now_s()
        idle_ends_s = begun_s + limits.idle_s
        while True:
            due_s = min(idle_ends_s, self._ends_s)
            try:
                async with asyncio.timeout_at(due_s):
                    return await self._response.content.readany()
            except TimeoutError:
                # What had passed before this began to wait was nobody's silence here.
                late_s = now_s() - max(due_s, begun_s)
            if late_s <= _LAG_S or now_s() > self._last_s:
                break
            begun_s = now_s()
            if due_s == self._ends_s:
                self._ends_s = min(begun_s + late_s, self._last_s)
            idle_ends_s = max(idle_ends_s, begun_s + late_s)
        if idle_ends_s < self._ends_s:
            message = f"the reply stopped for {limits.idle_s:g} s"
            raise UpstreamTimeout(message, stage="idle")
        message = f"the reply was not complete within {limits.total_s:g} s"
        raise UpstreamTimeout(message, stage="total")


class _Silence:
    """As `asyncio.timeout`, but for the time in which this process was busy with something else:
    that is no silence of the provider's, and is given back."""

    __slots__ = ("_due_s", "_limit", "_loop", "_timer")

    def __init__(self, limit_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        self._due_s = self._loop.time() + limit_s
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._timer = self._loop.call_at(self._due_s, self._ring)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _ring(self) -> None:
        now_s = self._loop.time()
        late_s = now_s - self._due_s
        if late_s <= _LAG_S:
            self._limit.reschedule(now_s)
            return
        self._due_s = now_s + late_s
        self._timer = self._loop.call_at(self._due_s, self._ring)


async def _request(
    session: ClientSession, method: str, url: URL, headers: Headers, body: bytes | Upload,
    limits: WireLimits,
) -> ClientResponse:  # fmt: skip
    """The head of the reply. Raises ClientError, and ValueError for an impossible header."""
    fields = [(name.decode(), value.decode()) for name, value in headers]
    connect_s = min(limits.connect_s, limits.first_byte_s * _CONNECT_SHARE)
    # The library rounds limits up to whole seconds above its threshold.
    timeout = ClientTimeout(connect=connect_s, ceil_threshold=math.inf)
    stale = 0
    while True:
        data = _content(body)
        try:
            return await session.request(
                method, url, headers=fields, data=data, allow_redirects=False, timeout=timeout
            )
        except ClientOSError as error:
            stale += 1
            if stale == _STALE_MAX or not _is_unsent(error, body):
                raise


def _content(body: bytes | Upload) -> bytes | BinaryIO | None:
    """What the library is given. It reads a file piece by piece, in a thread, and closes it."""
    if isinstance(body, Upload):
        return body.open()
    return io.BytesIO(body) if len(body) > _ONE_PIECE_BYTES else body or None


def _connection_end(response: ClientResponse) -> asyncio.Future[None] | None:
    """Done when the connection of a reply is lost; None if it was let go already."""
    connection = response.connection
    # Not by truth: a protocol is a queue too, and false while it is empty.
    protocol = connection.protocol if connection is not None else None
    end = protocol.closed if protocol is not None else None
    if end is not None:
        # The pool asks for no error of its idle connections; asyncio would log it as forgotten.
        end.remove_done_callback(_forget)
        end.add_done_callback(_forget)
    return end


def _forget(end: asyncio.Future[None]) -> None:
    end.exception()


def _parsed(url: str) -> URL:
    """As it stands: the library would decode and quote the path anew."""
    try:
        return URL(url, encoded=True)
    except ValueError as error:
        raise UpstreamUnreachable(f"the provider's address is no URL: {error}") from error


def _is_unsent(error: ClientError, body: bytes | Upload) -> bool:
    """Whether a connection failed before anything was written to it: head and body are one write,
    and the cause is the library's refusal to write to what is closed."""
    is_one_piece = isinstance(body, bytes) and len(body) <= _ONE_PIECE_BYTES
    return is_one_piece and isinstance(error.__cause__, ClientConnectionResetError)


def _before_head(error: ClientError, body: bytes | Upload) -> UpstreamFailed:
    if isinstance(error, ConnectionTimeoutError):
        return UpstreamTimeout("no connection to the provider in time", stage="connect")
    if isinstance(error, ClientConnectorError | InvalidURL | NonHttpUrlClientError):
        return UpstreamUnreachable(f"no connection to the provider: {_why(error)}")
    if _is_unsent(error, body):
        return UpstreamUnreachable("the provider closes its connections at once")
    if isinstance(error, ClientResponseError):
        return UpstreamGarbled("the reply does not begin as HTTP does")
    return StreamBroken(f"cut off before the reply: {_why(error)}")


def _why(error: ClientError) -> str:
    """The operating system's reason where there is one: the library's own text names the host."""
    reason = error.os_error if isinstance(error, ClientConnectorError) else error
    if isinstance(reason, ssl.SSLError):
        # Its number is OpenSSL's, and would read as another one of the system's.
        return getattr(reason, "verify_message", "") or reason.reason or "TLS failed"
    if isinstance(reason, LookupTooSlow):
        return f"its host name was {reason.strerror}"
    if isinstance(reason, socket.gaierror):
        return "its host name cannot be resolved"
    if isinstance(reason, OSError) and reason.errno and reason.errno > 0:
        return os.strerror(reason.errno)
    return type(reason).__name__
