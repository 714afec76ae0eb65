"""A `Wire` on httpx2, for comparison only: see docs/decisions/0002-upstream-client.md."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import httpx2

from headgate.errors import (
    Closed,
    StreamBroken,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from headgate.providers.settings import ProviderConfig
from headgate.providers.wire import WireLimits
from headgate.types import Headers

IDLE_S = 4.0


def open_wire(settings: ProviderConfig) -> Httpx2Wire:
    limits = httpx2.Limits(max_connections=settings.connections_max, keepalive_expiry=IDLE_S)
    headers = {"user-agent": "headgate", "accept-encoding": "identity"}
    return Httpx2Wire(httpx2.AsyncClient(limits=limits, headers=headers, trust_env=False))


class Httpx2Wire:
    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def send(
        self, method: str, url: str, headers: Headers, body: bytes, limits: WireLimits
    ) -> Httpx2Reply:
        if self._client.is_closed:
            raise Closed("closed")
        ends_s = asyncio.get_running_loop().time() + limits.total_s
        timeout = httpx2.Timeout(None, connect=limits.connect_s, pool=limits.connect_s)
        try:
            request = self._client.build_request(
                method, url, headers=list(headers), content=body, timeout=timeout
            )
            async with asyncio.timeout(limits.first_byte_s):
                response = await self._client.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise before_head(error) from error
        except TimeoutError:
            raise UpstreamTimeout("no reply", stage="first_token") from None
        return Httpx2Reply(response, limits, ends_s)

    async def aclose(self) -> None:
        await self._client.aclose()


class Httpx2Reply:
    def __init__(self, response: httpx2.Response, limits: WireLimits, ends_s: float) -> None:
        self.status = response.status_code
        self.headers: Headers = tuple((name.lower(), value) for name, value in response.headers.raw)
        self._response = response
        self._pieces = response.aiter_raw()
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
        await self._response.aclose()

    async def _next(self, ends_s: float) -> bytes:
        idle_ends_s = asyncio.get_running_loop().time() + self._limits.idle_s
        try:
            async with asyncio.timeout_at(min(idle_ends_s, ends_s)):
                piece: bytes = await anext(self._pieces, b"")
        except httpx2.HTTPError as error:
            raise StreamBroken(type(error).__name__) from error
        except TimeoutError:
            stage = "idle" if idle_ends_s < ends_s else "total"
            raise UpstreamTimeout("too slow", stage=stage) from None
        self._size_bytes += len(piece)
        if self._size_bytes > self._limits.reply_max_bytes:
            raise UpstreamGarbled(f"the reply is larger than {self._limits.reply_max_bytes} bytes")
        return piece


def before_head(error: httpx2.HTTPError) -> UpstreamFailed:
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return UpstreamTimeout("no connection", stage="connect")
    if isinstance(error, httpx2.ConnectError | httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return UpstreamUnreachable(type(error).__name__)
    if isinstance(error, httpx2.RemoteProtocolError) and "disconnected" not in str(error):
        return UpstreamGarbled(type(error).__name__)
    return StreamBroken(type(error).__name__)
