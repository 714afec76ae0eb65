"""What the body of a failed reply says: error type, code, message, and how long to wait. Pure.

Understands OpenAI's, Anthropic's and Google's shapes, and those of servers that imitate them; also
what an SDK left of one. A body that says nothing is `NO_NOTE`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.stamps import duration

BODY_MAX_BYTES = 65_536
"""A longer body is no error object."""
_MESSAGE_MAX = 2_000
_DEPTH_MAX = 4


class ErrorNote(Struct, frozen=True):
    """The error object of a reply; "" and None for what it does not say."""

    type: str = ""
    code: str = ""
    message: str = ""
    status: int | None = None
    """An HTTP status inside the body: some providers put it into `code`."""
    retry_delay_s: float | None = None
    """`google.rpc.RetryInfo`, seconds >= 0."""
    quotas: tuple[str, ...] = ()
    """Names of the quotas that `google.rpc.QuotaFailure` lists."""


NO_NOTE = ErrorNote()

_decode = msgspec.json.Decoder().decode


def read_error(content: bytes) -> ErrorNote:
    """The note in the body of a reply, or in one event of a stream."""
    if not content or len(content) > BODY_MAX_BYTES:
        return NO_NOTE
    try:
        return note_of(_decode(content))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return NO_NOTE


def error_answer(operation: str, event: bytes) -> bytes:
    """The body of a failed reply that says what an error event says. Most dialects use one shape
    for both; `/responses` has its events in shapes of their own."""
    if operation != "responses":
        return event
    note = read_error(event)
    fields = {"message": note.message, "type": note.type, "param": None, "code": note.code}
    return msgspec.json.encode({"error": fields})


def note_of(body: Any) -> ErrorNote:
    """The note in a decoded body: the error object itself, or what it stands in."""
    for _ in range(_DEPTH_MAX):
        # Google wraps its error in a list; most wrap it in `error`, Responses in `response`.
        if isinstance(body, list) and body:
            body = body[0]
            continue
        inside = [body.get(key) for key in ("error", "response")] if isinstance(body, dict) else []
        wrapped = next((value for value in inside if isinstance(value, dict)), None)
        if wrapped is None:
            break
        body = wrapped
    if isinstance(body, str):
        return ErrorNote(message=body[:_MESSAGE_MAX])
    return _note(body) if isinstance(body, dict) else NO_NOTE


def _note(error: dict[Any, Any]) -> ErrorNote:
    code, message = error.get("code"), error.get("message") or error.get("detail")
    if not isinstance(message, str):
        message = error.get("error")  # {"error": "some text"}
    details = error.get("details")
    listed = [item for item in details if isinstance(item, dict)] if type(details) is list else []
    # Anthropic: {"type": "rate_limit_error", "details": {"error_code": "ramp_limit_exceeded"}}
    finer = details.get("error_code") if isinstance(details, dict) else None
    status = code if type(code) is int and 400 <= code < 600 else None
    return ErrorNote(
        type=_text(error.get("type")) or _text(error.get("status")),
        code=_text(finer) or _text(code),
        message=_text(message),
        status=status,
        retry_delay_s=_retry_delay_s(listed),
        quotas=tuple(_quotas(listed)),
    )


def _text(value: Any) -> str:
    return value[:_MESSAGE_MAX] if isinstance(value, str) else ""


def _retry_delay_s(details: list[dict[Any, Any]]) -> float | None:
    for detail in details:
        if _text(detail.get("@type")).endswith("google.rpc.RetryInfo"):
            return duration(_text(detail.get("retryDelay")))
    return None


def _quotas(details: list[dict[Any, Any]]) -> list[str]:
    found = []
    for detail in details:
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict):
                found.append(_text(violation.get("quotaId")))
    return found
