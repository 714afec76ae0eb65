"""The upstream client on aiohttp, and the only file that knows this library.

Everything the library would do on its own account is switched off here: redirects, proxies, netrc,
cookies, decompression, its default headers and its own time limits but one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

from aiohttp import (
    ClientConnectorError,
    ClientError,
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
    UpstreamUnreachable,
)
from headgate.providers.wire import WireLimits, WireReply
from headgate.types import Headers

# An idle connection is let go before the 5 s after which uvicorn closes it, and with it most
# self-hosted servers: a request that meets the close on its way is lost. httpx keeps 5 s.
_POOL_IDLE_S = 4.0
# Connecting ends before the limit on the head does, so whichever passes names the right stage.
_CONNECT_SHARE = 0.9
_HEADERS = {"user-agent": "headgate", "accept-encoding": "identity"}


class AiohttpWire:
    """A `Wire`; `open_wire` makes it.

    What the interface leaves open: `first_byte_s` counts from the start of `send`, connecting
    included; waiting for a free connection counts as connecting. A GET that meets a connection the
    server has just closed is sent once more by the library; other methods are not.
    """

    def __init__(self, connections_max: int) -> None:
        self._connections_max = connections_max
        self._session: ClientSession | None = None
        self._is_closed = False

    async def send(
        self, method: str, url: str, headers: Headers, body: bytes, limits: WireLimits
    ) -> WireReply:
        """As `Wire.send`; also UpstreamGarbled (the head is not HTTP), BadRequest (a header that
        cannot be sent: nothing was) and Closed (after `aclose`)."""
        session = self._session or self._open()
        ends_s = asyncio.get_running_loop().time() + limits.total_s
        try:
            async with asyncio.timeout(limits.first_byte_s):
                response = await self._sent(session, method, url, headers, body, limits)
        except ClientError as error:
            raise _before_head(error) from error
        except TimeoutError:
            message = f"no reply within {limits.first_byte_s:g} s"
            raise UpstreamTimeout(message, stage="first_token") from None
        except ValueError:
            # Not chained: the library's message may quote the value, which may be a credential.
            raise BadRequest("a header of the request cannot be sent over HTTP") from None
        return AiohttpReply(response, limits, ends_s)

    async def aclose(self) -> None:
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    def _open(self) -> ClientSession:
        """The library wants its pool made inside the loop that uses it."""
        if self._is_closed:
            raise Closed("the connections to this provider are closed")
        self._session = ClientSession(
            connector=TCPConnector(limit=self._connections_max, keepalive_timeout=_POOL_IDLE_S),
            headers=_HEADERS,
            skip_auto_headers=("content-type",),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self._session


class AiohttpReply:
    """A `WireReply`; its body is read once, by `read` or by `chunks`."""

    def __init__(self, response: ClientResponse, limits: WireLimits, ends_s: float) -> None:
        self.status = response.status
        self.headers: Headers = tuple((name.lower(), value) for name, value in response.raw_headers)
        self._response = response
        self._limits = limits
        self._ends_s = ends_s
        self._size_bytes = 0

    async def read(self) -> bytes:
        pieces = []
        while piece := await self._next(self._ends_s):
            pieces.append(piece)
        return b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        while piece := await self._next(math.inf):
            yield piece

    async def aclose(self) -> None:
        self._response.close()

    async def _next(self, ends_s: float) -> bytes:
        """What has arrived of the body, waiting for it if nothing has; empty after the last."""
        content = self._response.content
        limits = self._limits
        try:
            # A body that is here already, as short answers are with their head, needs no timer.
            piece = content.read_nowait() if content.is_eof() else await self._arrival(ends_s)
        except ClientError as error:
            raise StreamBroken(f"the reply was cut off: {_why(error)}") from error
        self._size_bytes += len(piece)
        if self._size_bytes > limits.reply_max_bytes:
            raise UpstreamGarbled(f"the reply is larger than {limits.reply_max_bytes} bytes")
        return piece

    async def _arrival(self, ends_s: float) -> bytes:
        limits = self._limits
        idle_ends_s = asyncio.get_running_loop().time() + limits.idle_s
        try:
            async with asyncio.timeout_at(min(idle_ends_s, ends_s)):
                return await self._response.content.readany()
        except TimeoutError:
            if idle_ends_s < ends_s:
                message = f"the reply stopped for {limits.idle_s:g} s"
                raise UpstreamTimeout(message, stage="idle") from None
            message = f"the reply was not complete within {limits.total_s:g} s"
            raise UpstreamTimeout(message, stage="total") from None


def _parsed(url: str) -> URL:
    """As it stands: the library would decode and quote the path anew."""
    try:
        return URL(url, encoded=True)
    except ValueError as error:
        raise UpstreamUnreachable(f"the provider's address is no URL: {error}") from error


def _before_head(error: ClientError) -> UpstreamFailed:
    if isinstance(error, ConnectionTimeoutError):
        return UpstreamTimeout("no connection to the provider in time", stage="connect")
    if isinstance(error, ClientConnectorError | InvalidURL | NonHttpUrlClientError):
        return UpstreamUnreachable(f"no connection to the provider: {_why(error)}")
    if isinstance(error, ClientResponseError):
        return UpstreamGarbled("the reply does not begin as HTTP does")
    return StreamBroken(f"cut off before the reply: {_why(error)}")


def _why(error: ClientError) -> str:
    """The operating system's reason where there is one: the library's text names the host."""
    if isinstance(error, ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
