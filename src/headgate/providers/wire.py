"""The one small interface behind which the upstream HTTP client stands.

Whatever implements it turns its library's exceptions into ours and nothing else: no retries, no
redirects, no proxies from the environment, no decompression (`Accept-Encoding: identity` is sent).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, Protocol

from msgspec import Struct

from headgate.types import Headers


class WireLimits(Struct, frozen=True):
    """Four time limits in seconds and a size; each time limit has its own `UpstreamTimeout`."""

    connect_s: float = 10.0
    first_byte_s: float = 600.0
    idle_s: float = 120.0
    total_s: float = 600.0
    """From the start of `send` to the last byte of the body."""
    reply_max_bytes: int = 64_000_000


class Upload(Struct, frozen=True):
    """A body that is too large for memory."""

    open: Callable[[], BinaryIO]
    """The file at its beginning, anew for each try; its size is that of the body. It is read off
    the event loop. Who made the upload closes what is still open when the reply has been read."""


class WireReply(Protocol):
    """Status and headers have arrived; the body has not. Close it whatever happens."""

    status: int
    headers: Headers

    async def read(self) -> bytes:
        """The whole body.

        Raises UpstreamTimeout (idle, total), StreamBroken (cut off), UpstreamGarbled (too large).
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, piece by piece, each non-empty; errors as for `read`.

        A body that ends before its declared length, or whose last chunk is missing, is
        StreamBroken, never a clean end.
        """
        ...

    async def aclose(self) -> None:
        """Lets go of the connection: back to the pool if read to the end, else cut."""
        ...


class Wire(Protocol):
    """A pool of connections. Used from one event loop."""

    async def send(
        self, method: str, url: str, headers: Headers, body: bytes | Upload, limits: WireLimits
    ) -> WireReply:
        """Sends one request and waits for the head of its reply.

        Raises UpstreamUnreachable (name, connection, TLS: nothing was sent), UpstreamTimeout
        (connect, first_token), StreamBroken (cut off before the head was complete),
        UpstreamGarbled (the head is not HTTP), BadRequest (a header that cannot be sent) and
        Closed. When the caller is cancelled, the connection is cut, not returned to the pool.
        """
        ...

    async def aclose(self) -> None: ...
