"""A request to one of the batch routes, as far as it has been let in, and what is said to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from headgate.admission_head import Head
from headgate.core.fingerprint import sender_of, tenant_of
from headgate.errors import BadRequest
from headgate.surfaces.receiving import Receive
from headgate.types import Headers

_NUMBER = re.compile("[0-9]{1,9}")

JSON_LINES: Headers = ((b"content-type", b"application/x-ndjson"),)


class Asked(NamedTuple):
    """What is asked, and by whom. Nobody sees, or changes, what is not his tenant's."""

    receive: Receive
    head: Head
    content_type: bytes
    tenant: str
    id: str
    """Of what the path names; "" where it names none."""
    query: dict[str, str]

    def limit(self, usual: int, most: int) -> int:
        """How many of a list are wanted. Raises BadRequest."""
        text = self.query.get("limit", str(usual))
        if not (_NUMBER.fullmatch(text) and 1 <= int(text) <= most):
            raise BadRequest(f'"limit" must be a number from 1 to {most}')
        return int(text)


class Streamed(NamedTuple):
    """An answer whose body is read by a thread, piece by piece; `pieces` is closed at its end."""

    pieces: Iterator[bytes]
    headers: Headers = JSON_LINES
    size_bytes: int | None = None
    """None: it is known at the end only."""


def tenant_in(head: Head) -> str:
    """Whose jobs and files a request is about: whom its calls would share entries with, whatever
    namespace it names."""
    if head.client is not None:
        return tenant_of(b"client", head.client.share)
    return tenant_of(b"credential", sender_of(head.credential))


def query_of(raw: bytes) -> dict[str, str]:
    """The query string, each name once. Raises BadRequest."""
    try:
        pairs = parse_qsl(raw.decode("ascii"), True, strict_parsing=bool(raw), max_num_fields=20)
    except ValueError as error:
        raise BadRequest(f"query string: {error}") from None
    if len(dict(pairs)) != len(pairs):
        raise BadRequest("query string: a name comes twice")
    return dict(pairs)


def unknown(what: str, name: str) -> BadRequest:
    """404: there is no such thing, or it is another tenant's; nobody learns which."""
    return BadRequest(f"no such {what}: {name[:100]!r}", status=404, code=f"{what}_not_found")


def page(shown: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """One page of a list, as both official SDKs read it."""
    ends = {
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }
    return {"object": "list", "data": shown, "has_more": has_more, **ends}
