"""Entries to put into stores, and the place where tests write their files."""

from __future__ import annotations

from typing import Any

from headgate.types import Entry, Usage

SCOPE = b"s" * 32
NOW_S = 1_767_225_600.0
"""The time at which a `FakeClock` starts."""


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def entry_of(number: int = 1, content: bytes = b'{"answer": 42}', **differs: Any) -> Entry:
    """An entry with every field filled; `differs` replaces some."""
    fields: dict[str, Any] = {
        "key": key_of(number),
        "scope": SCOPE,
        "model": "gpt-4o",
        "operation": "chat",
        "created_s": NOW_S,
        "ttl_s": 3600.0,
        "content": content,
        "headers": ((b"content-type", b"application/json"), (b"x-request-id", b"req_\xff1")),
        "usage": Usage(tokens_in=9, tokens_out=4, tokens_cached=2),
        "target": "openai/gpt-4o",
        "finish": "stop",
        "namespace": "night",
        "tags": ("a", "b"),
    }
    return Entry(**(fields | differs))
