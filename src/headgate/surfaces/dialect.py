"""How an error is spelt in the dialect of the route it happened on. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from headgate.errors import HeadgateError, WrongMethod
from headgate.types import GENERATE

ANTHROPIC_OPERATIONS = frozenset({"messages", "count_tokens"})

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "request_too_large",
    414: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    503: "overloaded_error",
    504: "timeout_error",
}


_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 502: "UNAVAILABLE",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def dialect_of(scope: Mapping[str, Any]) -> str:
    """An operation in whose dialect to refuse what is no route of a call."""
    anthropic = any(name == b"anthropic-version" for name, _ in scope["headers"])
    return "messages" if anthropic or scope["path"].startswith("/v1/messages") else ""


def error_body(operation: str, status: int, code: str, message: str) -> bytes:
    """The JSON body that the official SDK of this route turns into its own exception."""
    if operation in ANTHROPIC_OPERATIONS:
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        error = {"type": kind, "message": message, "code": code}
        return msgspec.json.encode({"type": "error", "error": error})
    if operation == GENERATE:
        kind = _GOOGLE_STATUSES.get(status, "INTERNAL")
        return msgspec.json.encode({"error": {"code": status, "message": message, "status": kind}})
    kind = "invalid_request_error" if 400 <= status < 500 else "api_error"
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": None, "code": code}}
    )


def error_headers(error: HeadgateError) -> list[tuple[bytes, bytes]]:
    """Headers of an error of ours: SDKs must not multiply attempts we already made or refused."""
    headers = [(b"content-type", b"application/json")]
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if error.attempts:
        headers.append((b"headgate-attempts", b"%d" % error.attempts))
    if error.status_hint == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, WrongMethod):
        headers.append((b"allow", error.allow.encode()))
    return headers


def in_band_error(operation: str, error: HeadgateError) -> bytes:
    """The event that ends a stream which broke after it had begun, so that no SDK mistakes the end
    for a complete answer. A blank line first: the break may have cut a line in two, and readers
    would take the error for the rest of it."""
    if operation == "responses":
        event = {"type": "error", "code": error.code, "message": error.message, "param": None,
                 "sequence_number": 0}  # fmt: skip
        return b"\n\nevent: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
    body = error_body(operation, error.status_hint, error.code, error.message)
    name = b"event: error\n" if operation in ANTHROPIC_OPERATIONS else b""
    return b"\n\n" + name + b"data: " + body + b"\n\n"
