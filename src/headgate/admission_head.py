"""What the headers of a request say, sorted by what it is for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from headgate.core.client import Client
from headgate.core.controls import read_controls
from headgate.core.fingerprint import BEHAVIOUR_HEADERS
from headgate.core.idempotency import HEADER
from headgate.errors import BadRequest
from headgate.types import NO_CONTROLS, Controls, Headers

HEADERS_MAX = 100
HEADER_BYTES_MAX = 32_768
"""Names and values of all headers together; the server below has no limit of its own."""

CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
"""Of OpenAI and most others, Anthropic, Azure, and Google."""
IDENTITY = (b"accept-encoding", b"identity")

_KEY_OF_OURS = re.compile(rb" *(bearer +)?hg_", re.IGNORECASE)
_FORWARDED, _CREDENTIAL, _BEHAVIOUR, _CONTROL, _LENGTH, _FRAMING, _NAME = range(1, 8)
_KINDS = {
    **dict.fromkeys((b"content-type", b"accept", b"traceparent", b"tracestate"), _FORWARDED),
    **dict.fromkeys(CREDENTIAL_HEADERS, _CREDENTIAL),
    **dict.fromkeys(BEHAVIOUR_HEADERS, _BEHAVIOUR),
    b"cache-control": _CONTROL,
    b"content-length": _LENGTH,
    HEADER: _NAME,
    **dict.fromkeys((b"content-encoding", b"transfer-encoding", b"host"), _FRAMING),
}


class Head(Struct, frozen=True):
    """What the headers of a request say, sorted by what it is for."""

    forwarded: Headers
    credential: Headers
    behaviour: Headers
    controls: Controls
    announced_bytes: int = 0
    """Size of the body by its own account; 0 where it gives none."""
    name: bytes = b""
    """What the client calls this call (`Idempotency-Key`); empty where it gives it no name."""
    client: Client | None = None
    """Whose key it came with, which is not in `credential` any more; None where none is needed."""
    has_key: bool = False
    """What came with it looks like a key of a gateway: nothing to be sent to a provider."""


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Sorts the headers of a request. Raises BadRequest for a control that makes no sense, for too
    many or too large ones (431), for a compressed body (415), and for two hosts or two credentials
    of one name, of which others might take the other one."""
    forwarded: list[tuple[bytes, bytes]] = [IDENTITY]
    credential: list[tuple[bytes, bytes]] = []
    behaviour: list[tuple[bytes, bytes]] = []
    said: list[tuple[bytes, bytes]] = []
    framing: list[tuple[bytes, bytes]] = []
    announced_bytes = count = size_bytes = 0
    given = b""
    for header in headers:
        name = header[0]
        count += 1
        size_bytes += len(name) + len(header[1])
        # One look into one table: a client of today sends twenty headers, most of no interest.
        kind = _KINDS.get(name)
        if kind == _FORWARDED:
            forwarded.append(header)
        elif kind == _CREDENTIAL:
            credential.append(header)
        elif kind == _BEHAVIOUR:
            forwarded.append(header)
            behaviour.append(header)
        elif kind == _CONTROL or name[:9] == b"headgate-":
            said.append(header)
        elif kind == _LENGTH:
            announced_bytes = int(header[1][:18]) if header[1].isdigit() else 0
        elif kind == _FRAMING:
            framing.append(header)
        elif kind == _NAME:
            given = header[1]
    if count > HEADERS_MAX or size_bytes > HEADER_BYTES_MAX:
        raise BadRequest(
            f"at most {HEADERS_MAX} headers of {HEADER_BYTES_MAX} bytes together are accepted",
            status=431,
            code="headers_too_large",
        )
    _check(framing, credential)
    controls = read_controls(said) if said else NO_CONTROLS
    return Head(
        tuple(forwarded),
        tuple(credential),
        tuple(behaviour),
        controls,
        announced_bytes,
        given,
        has_key=any(_KEY_OF_OURS.match(value) for _, value in credential),
    )


def _check(framing: list[tuple[bytes, bytes]], credential: list[tuple[bytes, bytes]]) -> None:
    """Raises BadRequest for what is compressed, and for what another reader could see otherwise."""
    names = [name for name, _ in (*framing, *credential)]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"the header {twice.decode()} was sent twice; send it once")
    for name, value in framing:
        plain = b"chunked" if name == b"transfer-encoding" else b"identity"
        if name != b"host" and value.lower() != plain:
            raise BadRequest(
                "compressed request bodies are not accepted; send identity",
                status=415,
                code="unsupported_encoding",
            )
