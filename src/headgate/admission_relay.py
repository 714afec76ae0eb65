"""Admission of requests that an SDK in this process makes, on their way to an address of its own.

The gateway knows where a model leads; here the request says it. Key and scope are made as there, so
that an entry which came through the gateway answers an SDK that asks the same provider, and the
other way round. What the gateway never forwards, the SDK sends: unknown headers enter the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from headgate.admission import Admission
from headgate.admission_fields import asks_usage
from headgate.admission_head import CREDENTIAL_HEADERS, Head
from headgate.config import Config
from headgate.core.controls import read_controls
from headgate.core.fingerprint import USAGE_OPERATIONS, route_of, without_shape
from headgate.core.generate import usual_terms
from headgate.providers.settings import DEFAULT_BASE_URLS
from headgate.types import GENERATE, NO_CONTROLS, Headers, Route, Target

_PORTS = {"http": 80, "https": 443}
_OPERATIONS = (
    ("/chat/completions", "chat", "openai"),
    ("/completions", "completions", "openai"),
    ("/responses", "responses", "openai"),
    ("/embeddings", "embeddings", "openai"),
    ("/v1/messages", "messages", "anthropic"),
)
"""End of a path, operation, dialect; the first that fits."""
_GENERATES = re.compile(
    r"(?P<base>.*)(?P<path>/(?P<model>[^/:]+):(?P<verb>generateContent|streamGenerateContent))"
)

VOLATILE_HEADERS = frozenset({
    b"accept-encoding", b"connection", b"content-length", b"content-type", b"host", b"user-agent",
    b"transfer-encoding", b"idempotency-key", b"x-request-id", b"request-id", b"x-correlation-id",
    b"x-client-request-id", b"x-ms-client-request-id", b"traceparent", b"tracestate", b"baggage",
    b"sentry-trace", b"b3", b"x-amzn-trace-id", b"x-cloud-trace-context", b"x-goog-api-client",
    b"x-server-timeout",
})  # fmt: skip
"""What changes from one try of a call to the next, or says who asks and not what."""
_VOLATILE_PREFIXES = (b"x-stainless-", b"x-b3-", b"x-datadog-")
_USUAL_ACCEPT = frozenset({b"*/*", b"application/json", b"text/event-stream"})
"""The body says which of these comes back."""
_SIGNED = b"aws4-"
"""A signature over the whole request and the time: no identity, and void if anything changes."""


class Address(Struct, frozen=True):
    """Where one request goes and what it is for, as its URL says it."""

    operation: str
    kind: str
    """The dialect, as in `[providers.NAME]`; also `google`."""
    base_url: str
    """As an SDK takes it, without user, query and trailing slash."""
    path: str
    """Below the API root, without query."""
    query: bytes
    model: str = ""
    """Where the URL names it; else the body does."""
    is_streamed: bool | None = None
    """Where the URL says it; else the body does."""


def address_of(method: str, url: str, headers: Headers) -> Address | None:
    """The address of a request whose answer may be stored, None for any other.

    Considered is a `POST` of plain JSON to a known operation, unless it is signed. `headers` with
    names in lower case.
    """
    if method != "POST" or not _is_plain_json(headers):
        return None
    parts = urlsplit(url)
    query = parts.query.encode("latin-1", "replace")
    origin = _origin(parts.scheme, parts.hostname or "", parts.port)
    for end, operation, kind in _OPERATIONS:
        if parts.path.endswith(end):
            base_url = origin + parts.path.removesuffix(end)
            return Address(operation, kind, base_url, end.removeprefix("/v1"), query)
    if found := _GENERATES.fullmatch(parts.path):
        is_streamed = found["verb"] != "generateContent"
        # Without `alt=sse` the stream is one JSON array in pieces: no events to tell apart.
        if is_streamed and "alt=sse" not in parts.query.split("&"):
            return None
        base_url = origin + found["base"]
        return Address(
            GENERATE, "google", base_url, found["path"], query, found["model"], is_streamed
        )
    return None


def _is_plain_json(headers: Headers) -> bool:
    fields = dict(headers)
    return (
        fields.get(b"content-type", b"").lower().startswith(b"application/json")
        and fields.get(b"content-encoding", b"identity").lower() == b"identity"
        and not fields.get(b"authorization", b"").lower().startswith(_SIGNED)
    )


def _origin(scheme: str, host: str, port: int | None) -> str:
    named = f"[{host}]" if ":" in host else host
    shown = "" if port is None or port == _PORTS.get(scheme) else f":{port}"
    return f"{scheme.lower()}://{named}{shown}"


def plain_url(base_url: str) -> str:
    """One spelling per base URL: host in lower case, no default port, no slash at the end."""
    parts = urlsplit(base_url)
    return _origin(parts.scheme, parts.hostname or "", parts.port) + parts.path.rstrip("/")


def relay_head(headers: Headers) -> Head:
    """Sorts the headers of an SDK's request, names in any case.

    All of them go out as they are, but for controls. Raises BadRequest for a control that makes no
    sense.
    """
    forwarded: list[tuple[bytes, bytes]] = []
    credential: list[tuple[bytes, bytes]] = []
    behaviour: list[tuple[bytes, bytes]] = []
    said: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        low = name.lower()
        if low == b"cache-control" or low.startswith(b"headgate-"):
            said.append((low, value))
            continue
        forwarded.append((name, value))
        if low in CREDENTIAL_HEADERS:
            credential.append((low, value))
        elif not _is_volatile(low, value):
            behaviour.append((low, value))
    controls = read_controls(said) if said else NO_CONTROLS
    return Head(tuple(forwarded), tuple(credential), tuple(behaviour), controls)


def _is_volatile(name: bytes, value: bytes) -> bool:
    return (
        name in VOLATILE_HEADERS
        or name.startswith(_VOLATILE_PREFIXES)
        or (name == b"accept" and value in _USUAL_ACCEPT)
    )


class RelayAdmission(Admission):
    """Makes Calls to one address. Where a provider is configured with this very base URL it stands
    in key, metrics and headers by its name, else by its host. Safe from any thread."""

    plans_max = 2_000

    def __init__(self, config: Config, address: Address) -> None:
        super().__init__(config)
        self._address = address
        self._name = _configured(config, address)
        self._host = urlsplit(address.base_url).netloc

    def resolve(self, name: str, operation: str) -> tuple[str, tuple[Route, ...]]:
        """The model as it is spelt: the address is settled."""
        return name, (Route(Target(self._name or self._host, name)),)

    def _asked(self, fields: dict[str, Any]) -> str:
        return self._address.model or super()._asked(fields)

    def _terms(self, fields: dict[str, Any]) -> dict[str, Any]:
        return usual_terms(fields) if self._address.operation == GENERATE else fields

    def _is_streamed(self, fields: dict[str, Any]) -> bool:
        said = self._address.is_streamed
        return super()._is_streamed(fields) if said is None else said

    def _shapeless(
        self, operation: str, fields: dict[str, Any], targets: list[Target]
    ) -> dict[str, Any]:
        """The request goes out as it is: a stream that does not ask for usage has none, so it is
        less than a whole answer, and has an entry of its own."""
        if operation in USAGE_OPERATIONS and fields.get("stream") and not asks_usage(fields):
            return fields
        # A gateway that does not ask keeps the two kinds of streams apart, and so must this.
        provider = self._config.providers.get(self._name)
        asked = provider is None or provider.ask_stream_usage
        return without_shape(operation, fields, usage_is_asked=asked)

    def _wants_usage(self, operation: str, fields: dict[str, Any]) -> bool:
        return True

    def _route(self, targets: list[Target]) -> bytes:
        if self._name:
            return super()._route(targets)
        address = self._address
        parts: dict[str, Any] = {
            "target": targets[0].name, "kind": address.kind, "base_url": address.base_url
        }  # fmt: skip
        if address.is_streamed is not None:
            parts["streamed"] = address.is_streamed
        return route_of(parts)


def _configured(config: Config, address: Address) -> str:
    """The name of the configured provider at this address, or ""."""
    found: Iterable[str] = (
        name
        for name, settings in config.providers.items()
        if settings.kind == address.kind
        and plain_url(settings.base_url or DEFAULT_BASE_URLS[settings.kind]) == address.base_url
    )
    return next(iter(found), "")
