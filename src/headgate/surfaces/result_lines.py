"""Results of a job as lines of a file, in the words of each dialect. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Literal

import msgspec

from headgate.jobs.model import ResultRow, Settled
from headgate.jobs.states import CACHE_HIT, CANCELLED, EXPIRED, SUCCEEDED
from headgate.surfaces.dialect import error_body

GOOD = frozenset({SUCCEEDED, CACHE_HIT})
"""Items whose lines stand in the output file; those of all others are in the error file."""

_WHY = {
    EXPIRED: ("batch_expired", "the batch expired before this request was answered"),
    CANCELLED: ("batch_cancelled", "the batch was cancelled before this request was answered"),
}
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a provider has sent may hold anything: one such line must not spoil those after it."""
_encode = msgspec.json.Encoder().encode


def openai_line(job_id: str, row: ResultRow) -> bytes:
    """One line of an output or error file; the same whenever it is asked for."""
    settled = row.settled
    name = sha256(f"{job_id} {row.line_no}".encode()).hexdigest()[:32]
    response: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    if settled.status_code and settled.body:
        body = _on_one_line(settled.body)
        response = {"status_code": settled.status_code, "request_id": f"req_{name}", "body": body}
    else:
        code, message = _why(settled)
        error = {"code": code, "message": message}
    line = {
        "id": f"batch_req_{name}",
        "custom_id": settled.custom_id,
        "response": response,
        "error": error,
    }
    return _encode(line) + b"\n"


def anthropic_line(job_id: str, row: ResultRow) -> bytes:
    """One line of the results of a message batch."""
    settled = row.settled
    result: dict[str, Any]
    if settled.state in GOOD:
        result = {"type": "succeeded", "message": _on_one_line(settled.body)}
    elif settled.state == EXPIRED:
        result = {"type": "expired"}
    elif settled.state == CANCELLED:
        result = {"type": "canceled"}
    else:
        result = {"type": "errored", "error": _anthropic_error(settled)}
    return _encode({"custom_id": settled.custom_id, "result": result}) + b"\n"


def _anthropic_error(settled: Settled) -> msgspec.Raw:
    """The provider's own error where it is one, else ours in its shape."""
    try:
        msgspec.json.decode(settled.body, type=_Error)
    except _UNREADABLE:
        code, message = _why(settled)
        return msgspec.Raw(error_body("messages", settled.status_code or 500, code, message))
    return _on_one_line(settled.body)


class _Said(msgspec.Struct):
    type: str
    message: str


class _Error(msgspec.Struct):
    """What every error of Anthropic's has."""

    type: Literal["error"]
    error: _Said


def _why(settled: Settled) -> tuple[str, str]:
    code, message = _WHY.get(settled.state, ("request_failed", "the request failed"))
    return settled.error_code or code, settled.error_message or message


def _on_one_line(body: bytes) -> msgspec.Raw:
    """JSON without the line feeds that it may hold between its values; as text, if it is none."""
    try:
        body.decode()
        return msgspec.Raw(msgspec.json.format(body, indent=-1))
    except _UNREADABLE:
        return msgspec.Raw(_encode(body.decode("utf-8", "replace")))
