"""Marks: whose answer it is and which one, in the words and ids of every answer, so that a test can
tell a foreign answer and a replayed one from its own by its bytes alone. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256

from msgspec import Struct

_MARK = re.compile(r"hgt([0-9a-f]{8})s([0-9]+)z")
_CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
NOBODY = "00000000"
"""The tenant of a request without a credential."""


class Mark(Struct, frozen=True):
    """Whose question was answered (`tenant_of` its credential) and by which call of the server."""

    tenant: str
    serial: int

    def __str__(self) -> str:
        return f"hgt{self.tenant}s{self.serial}z"


def marks_in(content: bytes | str) -> set[Mark]:
    """Every mark in an answer. In a stream the marks of the ids are whole; those of the words may
    be spread over several events: look at the words that the client put together."""
    text = content if isinstance(content, str) else content.decode("latin-1")
    return {Mark(tenant, int(serial)) for tenant, serial in _MARK.findall(text)}


def tenant_of(credential: str) -> str:
    """8 hex digits that stand for a credential (the key alone, without `Bearer`)."""
    return sha256(credential.encode()).hexdigest()[:8] if credential else NOBODY


def alias_of(credential: str) -> str:
    """How a credential is written in records, headers included; the credential itself never is."""
    return f"key-{tenant_of(credential)}" if credential else ""


def credential_in(headers: Mapping[str, str]) -> str:
    """The first credential among headers with lower-case names, without its scheme; or ""."""
    for name in _CREDENTIALS:
        if name in headers:
            return headers[name].removeprefix("Bearer ").strip()
    return ""


def without_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers, each credential replaced by its alias."""
    return {
        name: alias_of(value.removeprefix("Bearer ").strip()) if name in _CREDENTIALS else value
        for name, value in headers.items()
    }
