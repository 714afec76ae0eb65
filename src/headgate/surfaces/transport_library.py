"""httpx2 or httpx: the client library in which an SDK asks. Everything that differs between the two
is found by name in the library's own module, and no class of the one ever meets the other.

Neither is a dependency: whoever has an SDK has its library.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from headgate.errors import (
    BadRequest,
    HeadgateError,
    StreamBroken,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from headgate.surfaces.transport_proxies import proxy_for
from headgate.types import Headers

T = TypeVar("T")
LIBRARIES = ("httpx2", "httpx")
CONNECTIONS_MAX, CONNECTIONS_KEPT_MAX = 1000, 100
"""Pool limits of the official SDKs, whose own clients set them (openai 3.54, anthropic 2.12)."""
TOTAL_S, CONNECT_S = 600.0, 5.0
"""Their time limits: 600 s for each of writing, reading and the pool."""
_KEEP_ALIVE_S, _KEEP_ALIVE_PROBES = 60, 5
"""Anthropic's: a long answer is not lost to a router that forgets silent connections."""


class Library:
    """One client library, loaded when it is first named. Raises ValueError for any other, and
    ModuleNotFoundError where it is not installed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = _module(name)
        self._ssl_context: Any = None

    def client(self, transport: Any, *, asynchronous: bool) -> Any:
        """A client with the settings that the SDKs give their own."""
        module = self.module
        base = module.AsyncClient if asynchronous else module.Client
        # SDKs refuse a client of the wrong kind by the name of its class: it says what to change.
        name = f'Runtime.http_client(asynchronous={asynchronous}, library="{self.name}")'
        named = type(name, (base,), {"__module__": "headgate"})
        timeout = module.Timeout(TOTAL_S, connect=CONNECT_S)
        return named(transport=transport, timeout=timeout, follow_redirects=True)

    def sender(self, proxy: str | None, *, asynchronous: bool) -> Any:
        """A pool of connections as the SDKs have, direct or through a proxy."""
        module = self.module
        if self._ssl_context is None:
            self._ssl_context = module.create_ssl_context()
        limits = module.Limits(
            max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_KEPT_MAX
        )
        kind = module.AsyncHTTPTransport if asynchronous else module.HTTPTransport
        return kind(
            verify=self._ssl_context, limits=limits, proxy=proxy, socket_options=_keep_alive()
        )

    def request(self, like: Any, headers: Headers, body: bytes) -> Any:
        """The request `like` with these headers and this body, which was read from it."""
        # A trace function belongs to the caller's loop or thread; it would be called in another.
        extensions = {name: what for name, what in like.extensions.items() if name != "trace"}
        return self.module.Request(
            like.method, like.url, headers=list(headers), stream=self.module.ByteStream(body),
            extensions=extensions,
        )  # fmt: skip

    def response(self, status: int, headers: Headers, body: bytes | Any) -> Any:
        """A response whose body is these bytes, or this stream of the library's own kind."""
        stream = self.module.ByteStream(body) if isinstance(body, bytes) else body
        return self.module.Response(
            status, headers=list(headers), stream=stream, extensions={"http_version": b"HTTP/1.1"}
        )

    def ours(self, error: Exception) -> HeadgateError:
        """One of the library's RequestErrors as the stack knows failures."""
        message = str(error) or type(error).__name__
        for names, made in _OURS:
            if isinstance(error, tuple(getattr(self.module, name) for name in names)):
                return made(message)
        return StreamBroken(message)

    def theirs(self, error: HeadgateError) -> Exception | None:
        """What `error` was before `ours`, whichever library it came from, as a new exception of
        this one; None where no library raised it."""
        cause = error.__cause__
        if cause is None or type(cause).__module__.partition(".")[0] not in LIBRARIES:
            return None
        kind: type[Exception] = getattr(self.module, type(cause).__name__, self.module.ReadError)
        return kind(str(cause))

    def broken(self, error: HeadgateError) -> Exception:
        """As `theirs`, for a body that ends by any error: it has no status left to tell it by."""
        found = self.theirs(error)
        if found is not None:
            return found
        module = self.module
        kind = module.ReadTimeout if isinstance(error, UpstreamTimeout) else module.ReadError
        wrapped: Exception = kind(error.message)
        return wrapped

    def late(self) -> Exception:
        """What the library raises when its read limit passes."""
        error: Exception = self.module.ReadTimeout("The read operation timed out")
        return error


class Routes(Generic[T]):
    """The senders of one library, by the proxy that they go through."""

    def __init__(self, make: Callable[[str | None], T]) -> None:
        self._make = make
        self._senders: dict[str | None, T] = {}

    def to(self, url: Any, proxies: Mapping[str, str]) -> T:
        """The sender for this URL where `proxies` are those of the environment."""
        proxy = proxy_for(url.scheme, url.host, url.port, proxies)
        sender = self._senders.get(proxy)
        if sender is None:
            sender = self._senders.setdefault(proxy, self._make(proxy))
        return sender

    def __iter__(self) -> Iterator[T]:
        return iter([*self._senders.values()])


def _timed_out(stage: str) -> Callable[[str], HeadgateError]:
    return lambda message: UpstreamTimeout(message, stage=stage)


_OURS: tuple[tuple[tuple[str, ...], Callable[[str], HeadgateError]], ...] = (
    (("ConnectTimeout", "PoolTimeout"), _timed_out("connect")),
    (("TimeoutException",), _timed_out("idle")),
    (("ConnectError", "ProxyError", "UnsupportedProtocol"), UpstreamUnreachable),
    (("LocalProtocolError",), BadRequest),
    (("DecodingError",), UpstreamGarbled),
)
"""Names of a library's exceptions, most special first; any other is StreamBroken."""


def library_of(request: Any) -> str:
    """The name of the library that a request belongs to. Raises TypeError for any other."""
    for base in type(request).__mro__:
        name = base.__module__.partition(".")[0]
        if name in LIBRARIES:
            return name
    raise TypeError(f"expected a request of httpx2 or httpx, got {type(request)}")


def _module(name: str) -> Any:
    try:
        if name == "httpx2":
            return importlib.import_module("httpx2")
        if name == "httpx":
            return importlib.import_module("httpx")
    except ModuleNotFoundError as error:
        other = LIBRARIES[1 - LIBRARIES.index(name)]
        raise ModuleNotFoundError(
            f"{name} is not installed: pip install 'headgate[{name}]', or for an SDK that is built "
            f'on {other}: http_client(library="{other}")',
            name=error.name,
        ) from error
    raise ValueError(f'library={name!r}: expected "httpx2" or "httpx"')


def _keep_alive() -> list[tuple[int, int, int]]:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    values = {
        "TCP_KEEPINTVL": _KEEP_ALIVE_S, "TCP_KEEPCNT": _KEEP_ALIVE_PROBES,
        "TCP_KEEPIDLE": _KEEP_ALIVE_S,
    }  # fmt: skip
    for name, value in values.items():
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options
