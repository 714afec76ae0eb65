"""A `Wire` on pyreqwest, for comparison only: see docs/decisions/0002-upstream-client.md.

It asks the library for no more than one connection's work: no redirects, proxies, cookies, retries
or decompression. Limits are kept here, because the library has one read limit for head and body.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import timedelta

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    BuilderError,
    DecodeError,
    DetailedPyreqwestError,
    PoolTimeoutError,
    PyreqwestError,
    RequestTimeoutError,
)
from pyreqwest.http import HeaderMap
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from headgate.errors import (
    BadRequest,
    Closed,
    StreamBroken,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import Wire, WireLimits, WireReply
from headgate.types import Headers

# An idle connection is let go before the 5 s after which uvicorn closes it, and with it most
# self-hosted servers: a request on its way at that moment would be lost. httpx keeps 5 s.
_POOL_IDLE_S = 4.0
# How hyper-util begins the cause of what failed before a connection stood. The library's own class
# does not tell: a reset after the request was sent is a ConnectError as well.
_BEFORE_SENDING = "client error (Connect)"


def open_wire(settings: ProviderConfig) -> Wire:
    """A pool of connections to one provider; needs no running event loop.

    `connect_timeout` and `connections_max` belong to the pool: `WireLimits.connect_s` is not read
    again. A call that finds no free connection for `connect_timeout` is an UpstreamTimeout
    (connect). Trusts the system's certificates, or those of SSL_CERT_FILE.
    """
    connect = timedelta(seconds=settings.connect_timeout)
    # Ends what a cancellation missed (see _PyreqwestWire.send); ours above it fire first.
    backstop = timedelta(seconds=settings.first_byte_timeout + settings.idle_timeout)
    client = (
        ClientBuilder()
        .follow_redirects(False)
        .referer(False)
        .no_proxy()
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .http1_lower_case_headers()
        .user_agent("headgate")
        .default_headers([("accept-encoding", "identity")])
        .max_connections(settings.connections_max)
        .connect_timeout(connect)
        .pool_timeout(connect)
        .pool_idle_timeout(timedelta(seconds=_POOL_IDLE_S))
        .read_timeout(backstop)
        .build()
    )
    return _PyreqwestWire(client)


class _PyreqwestWire:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._is_closed = False

    async def send(
        self, method: str, url: str, headers: Headers, body: bytes, limits: WireLimits
    ) -> WireReply:
        """As `Wire.send`; UpstreamGarbled where the head is not HTTP, BadRequest for a header that
        cannot be sent, Closed after `aclose`. `first_byte_s` counts from here, connecting included.

        A cancellation in the moment in which the head arrives is sometimes lost on the library
        (0.15.1). Where the reply is handed over, it is closed here; where not, its connection is
        cut by the next piece of the body, at the latest by the backstop in `open_wire`.
        """
        if self._is_closed:
            raise Closed("the connections to this provider were closed")
        request = self._request(method, url, headers, body)
        ends_s = asyncio.get_running_loop().time() + limits.total_s
        cancels = _cancels()
        try:
            async with asyncio.timeout(limits.first_byte_s):
                response = await request.__aenter__()
        except PyreqwestError as error:
            raise _before_head(error) from error
        except TimeoutError:
            message = f"no reply within {limits.first_byte_s:g} s"
            raise UpstreamTimeout(message, stage="first_token") from None
        if _cancels() > cancels:
            await request.__aexit__(None, None, None)
            raise asyncio.CancelledError
        return _PyreqwestReply(request, response, limits, ends_s)

    async def aclose(self) -> None:
        self._is_closed = True
        await self._client.close()

    def _request(self, method: str, url: str, headers: Headers, body: bytes) -> StreamRequest:
        try:
            builder = self._client.request(method, url)
        except ValueError as error:
            raise UpstreamUnreachable(f"the provider's address cannot be used: {error}") from error
        try:
            builder = builder.headers([(name.decode(), value.decode()) for name, value in headers])
        except ValueError:
            # The library's message quotes the value, which may be a credential.
            raise BadRequest("a request header holds characters that cannot be sent") from None
        if body:
            builder = builder.body_bytes(body)
        # Any other limit makes the library read that much of the body before it gives the head.
        return builder.streamed_read_buffer_limit(0).build_streamed()


class _PyreqwestReply:
    def __init__(
        self, request: StreamRequest, response: Response, limits: WireLimits, ends_s: float
    ) -> None:
        self.status = response.status
        self.headers = _headers(response)
        self._request = request
        self._reader = response.body_reader
        self._limits = limits
        self._ends_s = ends_s
        self._size_bytes = 0
        self._is_closed = False
        self._clock = asyncio.get_running_loop()

    async def read(self) -> bytes:
        pieces = []
        while piece := await self._next(self._ends_s):
            pieces.append(piece)
        return b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        while piece := await self._next(math.inf):
            yield piece

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self._request.__aexit__(None, None, None)

    async def _next(self, ends_s: float) -> bytes:
        """The next piece of the body, empty after the last one."""
        limits = self._limits
        idle_ends_s = self._clock.time() + limits.idle_s
        cancels = _cancels()
        try:
            async with asyncio.timeout_at(min(idle_ends_s, ends_s)):
                piece = await self._reader.read_chunk()
        except PyreqwestError as error:
            raise _in_body(error) from error
        except TimeoutError:
            raise _too_slow(limits, "idle" if idle_ends_s < ends_s else "total") from None
        if _cancels() > cancels:
            raise asyncio.CancelledError
        if piece is None:
            return b""
        self._size_bytes += len(piece)
        if self._size_bytes > limits.reply_max_bytes:
            raise UpstreamGarbled(f"the reply is larger than {limits.reply_max_bytes} bytes")
        return piece.to_bytes()


def _cancels() -> int:
    """How often the running task was asked to end: the library can swallow one (`send`)."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _headers(response: Response) -> Headers:
    """Lower-case names, raw values; a value that is not ASCII is left out: the library has no way
    to read it."""
    fields = response.headers
    try:
        return tuple((name.encode(), value.encode()) for name, value in fields.items())
    except ValueError:
        return tuple(
            (name.encode(), value.encode())
            for name in dict.fromkeys(fields.keys())
            for value in _readable(fields, name)
        )


def _readable(fields: HeaderMap, name: str) -> list[str]:
    try:
        return fields.getall(name)
    except ValueError:
        return []


def _causes(error: PyreqwestError) -> list[str]:
    causes = error.details["causes"] if isinstance(error, DetailedPyreqwestError) else None
    return [cause["message"] for cause in causes or ()]


def _why(error: PyreqwestError) -> str:
    """The innermost cause; the outermost names the URL, which is nobody's business."""
    return (_causes(error)[1:] or [error.message])[-1]


def _before_head(error: PyreqwestError) -> UpstreamFailed:
    is_unsent = _BEFORE_SENDING in _causes(error)
    if isinstance(error, PoolTimeoutError):
        return UpstreamTimeout("no connection to the provider became free", stage="connect")
    if isinstance(error, RequestTimeoutError):
        stage = "connect" if is_unsent else "first_token"
        return UpstreamTimeout(f"no reply: {_why(error)}", stage=stage)
    if is_unsent or isinstance(error, BuilderError):
        return UpstreamUnreachable(f"no connection to the provider: {_why(error)}")
    if isinstance(error, DecodeError):
        return UpstreamGarbled(f"the reply is not HTTP: {_why(error)}")
    return StreamBroken(f"cut off before the reply: {_why(error)}")


def _in_body(error: PyreqwestError) -> UpstreamFailed:
    if isinstance(error, RequestTimeoutError):
        return UpstreamTimeout(f"the reply stopped: {_why(error)}", stage="idle")
    return StreamBroken(f"the reply was cut off: {_why(error)}")


def _too_slow(limits: WireLimits, stage: str) -> UpstreamTimeout:
    if stage == "idle":
        return UpstreamTimeout(f"nothing came for {limits.idle_s:g} s", stage=stage)
    return UpstreamTimeout(f"not complete within {limits.total_s:g} s", stage=stage)
