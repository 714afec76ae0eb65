"""Whose fault was it? From a status, a body, an event or an exception to its `Outcome`. Pure.

One reading of a failure feeds breaker, gates, retry, fallback and metrics, so they cannot disagree.
A 429 is three things: a throttle, a quota that is used up, and a request that will never fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import structs

from headgate.core.backoff import header_map, reset_s, retry_after_s
from headgate.core.error_note import NO_NOTE, ErrorNote, note_of, read_error
from headgate.core.outcome import DEPLOYMENT, FAULT, NEVER, OUTCOMES, SILENT, Outcome
from headgate.core.verdict import exception_error, status_error
from headgate.errors import (
    BadRequest,
    Closed,
    ConfigError,
    HeadgateError,
    Refused,
    StoreError,
    StreamBroken,
    UpstreamGarbled,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from headgate.types import Headers

_BY_STATUS = {401: "authentication", 403: "permission", 408: "timeout", 409: "conflict",
              425: "too_early", 429: "rate_limit", 502: "bad_gateway", 503: "unavailable",
              504: "gateway_timeout", 529: "overloaded"}  # fmt: skip
# Cloudflare's: it could not get a reply from the origin.
_EDGE = range(520, 528)

_QUOTA_CODES = frozenset({
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error",
    "credit_balance_too_low", "insufficient_credits", "spend_limit_reached", "budget_exceeded",
    "usage_limit_reached", "contract_spend_limit_reached", "enforced_spend_limit_reached",
    "linked_organization_spend_limit_reached", "linked_organization_billing_unavailable",
})  # fmt: skip
# Said with status 400 and type invalid_request_error (anthropics/claude-code#4684). At the start
# only: further on providers repeat what the request said, and a tenant could close a key for all.
_QUOTA_BEGINS = (
    "your credit balance is too low",
    "you have reached your specified api usage limits",
)
# A quota by the day names a retryDelay of seconds all the same (gemini-for-kubernetes-dev.#1215).
_DAILY = "perday"
_UNFITTING_WORDS = ("request too large for",)
_CONTEXT_CODES = frozenset({"context_length_exceeded"})
_CONTEXT_WORDS = ("prompt is too long", "maximum context length", "exceed context limit",
                  "exceeds the maximum number of tokens")  # fmt: skip
_CONTENT_CODES = frozenset({"content_filter", "content_policy_violation",
                            "responsibleaipolicyviolation"})  # fmt: skip
_HELD_CODES = frozenset({"organization_on_hold", "access_terminated"})
_CONTENT_WORDS = ("blocked by content filtering policy",)
# OpenRouter says it with 403: the prompt is refused, not the key.
_FLAGGED_WORDS = ("your input was flagged",)

# Errors inside a stream whose status was 200, by type or code.
_IN_BAND: Mapping[str, int] = {
    "api_error": 500, "server_error": 500, "internal": 500, "overloaded_error": 529,
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "insufficient_quota": 429,
    "resource_exhausted": 429, "timeout_error": 504, "deadline_exceeded": 504, "unavailable": 503,
    "authentication_error": 401, "unauthenticated": 401, "invalid_api_key": 401,
    "permission_error": 403, "permission_denied": 403, "not_found_error": 404, "not_found": 404,
    "billing_error": 402, "invalid_request_error": 400, "invalid_argument": 400,
    "invalid_prompt": 400,
    "request_too_large": 413,
}  # fmt: skip


def of_reply(
    status: int, headers: Headers = (), content: bytes = b"", wall_s: float | None = None
) -> Outcome:
    """The outcome of a whole reply by its status and, if it failed, its headers and body.

    `wall_s` is wall-clock seconds, for a date in `retry-after` whose reply has no `date`.
    """
    if 200 <= status < 300:
        return OUTCOMES["ok"]
    return _of_failed(status, header_map(headers), read_error(content), wall_s)


def of_event(content: bytes, *, committed: bool = False) -> Outcome:
    """The outcome of a stream that sent an error event: as its status would have been, or
    `mid_stream` once content has reached the client (`committed`)."""
    if committed:
        return OUTCOMES["mid_stream"]
    note = read_error(content)
    return _of_failed(_in_band_status(note), {}, note, None)


def status_of_event(content: bytes) -> int:
    """The status that a stream which began with this error event would have had."""
    return _in_band_status(read_error(content))


def of_error(
    error: BaseException, *, committed: bool = False, wall_s: float | None = None
) -> Outcome:
    """The outcome of an attempt that raised.

    Understands headgate's own errors, those of the official SDKs (by what they carry and how they
    are called: none is imported), and those of sockets. Any other exception of a callable is a
    fault of its deployment, not to be repeated. Not an `Exception` (cancelled, interrupted, closed)
    means that the caller left.
    """
    if not isinstance(error, Exception):
        return OUTCOMES["left"]
    outcome = _of_exception(error, wall_s)
    return OUTCOMES["mid_stream"] if committed and outcome.kind == FAULT else outcome


def _of_failed(
    status: int, headers: Mapping[str, str], note: ErrorNote, wall_s: float | None
) -> Outcome:
    reason = _reason(status, note)
    outcome = OUTCOMES[reason]
    wait_s = retry_after_s(headers, wall_s)
    if reason in ("rate_limit", "quota"):
        waits = (wait_s, reset_s(headers, wall_s), None if _is_daily(note) else note.retry_delay_s)
        wait_s = max((wait for wait in waits if wait is not None), default=None)
    if reason == "bad_request":
        outcome = structs.replace(outcome, reason=status_error(status))
    if headers.get("x-should-retry", "").lower() == "false":
        outcome = structs.replace(outcome, again=NEVER)
    return outcome if wait_s is None else structs.replace(outcome, retry_after_s=wait_s)


def _reason(status: int, note: ErrorNote) -> str:
    """The row of `OUTCOMES` for a status that is no success."""
    if not 400 <= status < 600:
        return "bad_payload"  # a redirect: a captive portal, or a wrong base_url
    codes = {note.code.lower(), note.type.lower()}
    words = note.message.lower()
    if status == 402 or (status < 500 and _is_quota(codes, words, note)):
        return "quota"
    if status < 500 and codes & _HELD_CODES:
        return "permission"
    if status == 429 and _says(words, _UNFITTING_WORDS):
        return "too_large"
    if status == 403 and _says(words, _FLAGGED_WORDS):
        return "content_filter"
    if status in (400, 413, 422):
        return _callers(codes, words)
    if status == 403 and note == NO_NOTE:
        return "blocked"
    if status in _EDGE:
        return "bad_gateway"
    return _BY_STATUS.get(status, "server_error" if status >= 500 else "bad_request")


def _callers(codes: set[str], words: str) -> str:
    if codes & _CONTEXT_CODES or _says(words, _CONTEXT_WORDS):
        return "context_too_long"
    if codes & _CONTENT_CODES or _says(words, _CONTENT_WORDS):
        return "content_filter"
    return "bad_request"


def _is_quota(codes: set[str], words: str, note: ErrorNote) -> bool:
    return bool(codes & _QUOTA_CODES) or words.startswith(_QUOTA_BEGINS) or _is_daily(note)


def _is_daily(note: ErrorNote) -> bool:
    return any(_DAILY in quota.lower() for quota in note.quotas)


def _says(words: str, fragments: tuple[str, ...]) -> bool:
    return any(fragment in words for fragment in fragments)


def _in_band_status(note: ErrorNote) -> int:
    if note.status is not None:
        return note.status
    names = [name.lower() for name in (note.code, note.type)]
    known = (_IN_BAND.get(name) for name in names)
    # What else is invalid, or wrong with an image, is the caller's: `invalid_base64_image`, ...
    is_callers = any(name.startswith("invalid_") or "image" in name for name in names)
    return next((status for status in known if status is not None), 400 if is_callers else 500)


# Exceptions. The rows are tried in order, each against the names of an exception's classes and of
# those it was raised from.
_BY_NAME: tuple[tuple[tuple[str, ...], str], ...] = (
    (("CertVerificationError", "CertificateError"), "certificate"),
    (("PoolTimeout",), "refused"),  # our own pool was full
    (("ConnectTimeout", "ConnectionTimeout"), "connect_timeout"),
    (("Timeout",), "total_timeout"),
    (("ConnectError", "ClientConnectorError", "ConnectionRefusedError", "NewConnectionError",
      "NameResolutionError", "gaierror", "UnsupportedProtocol", "InvalidURL"), "unreachable"),
    (("ResponseValidationError", "JSONDecodeError", "DecodingError"), "bad_payload"),
    (("ConnectionError", "NetworkError", "ProtocolError", "ServerDisconnected", "IncompleteRead",
      "ClientOSError", "PayloadError", "SSLError"), "reset"),
)  # fmt: skip
_CAUSES_MAX = 4
_NOT_THE_TARGETS = (Refused, BadRequest, Closed, ConfigError, StoreError)


def _of_exception(error: Exception, wall_s: float | None) -> Outcome:
    if isinstance(error, HeadgateError):
        return _asking(_of_ours(error), error)
    response, body = getattr(error, "response", None), getattr(error, "body", None)
    status = _status_of(error, response)
    if status is not None:
        headers = getattr(response, "headers", None) or getattr(error, "headers", None)
        note = note_of(body)
        if note == NO_NOTE:  # `str(error)` may raise
            message = getattr(error, "message", None)
            note = ErrorNote(message=message) if isinstance(message, str) else NO_NOTE
        return _of_failed(status, _lower(headers), note, wall_s)
    if isinstance(body, dict):  # an error event that an SDK found in a stream
        note = note_of(body)
        return _of_failed(_in_band_status(note), {}, note, wall_s)
    reason = _named(error)
    if not reason:
        return _asking(Outcome(FAULT, exception_error(error), SILENT, DEPLOYMENT), error)
    return OUTCOMES[reason]


def _of_ours(error: HeadgateError) -> Outcome:
    if isinstance(error, _NOT_THE_TARGETS):
        return OUTCOMES["refused"]
    if isinstance(error, UpstreamTimeout):
        return OUTCOMES.get(f"{error.stage}_timeout", OUTCOMES["total_timeout"])
    if isinstance(error, UpstreamUnreachable):
        return OUTCOMES["certificate" if _named(error) == "certificate" else "unreachable"]
    if isinstance(error, UpstreamTooLarge):
        return OUTCOMES["reply_too_large"]
    if isinstance(error, UpstreamGarbled):
        return OUTCOMES["bad_payload"]
    return OUTCOMES["cut" if isinstance(error, StreamBroken) else "reset"]


def _status_of(error: Exception, response: Any) -> int | None:
    found = (getattr(error, "status_code", None), getattr(response, "status_code", None),
             getattr(error, "status", None))  # fmt: skip
    return next((status for status in found if type(status) is int and 100 <= status < 600), None)


def _lower(headers: Any) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _named(error: BaseException) -> str:
    """The row of `_BY_NAME` for an exception, "" if there is none."""
    names = list(_names(error))
    fitting = (
        reason
        for parts, reason in _BY_NAME
        if any(part in name for part in parts for name in names)
    )
    return next(fitting, "")


def _names(error: BaseException) -> Iterator[str]:
    cause: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if cause is None:
            return
        yield from (kind.__name__ for kind in type(cause).__mro__)
        cause = cause.__cause__


def _asking(outcome: Outcome, error: Exception) -> Outcome:
    """With the wait that the exception itself asks for, if it does."""
    wait_s = getattr(error, "retry_after_s", None)
    if isinstance(wait_s, bool) or not isinstance(wait_s, int | float):
        return outcome
    if not 0 <= wait_s < math.inf:
        return outcome
    return structs.replace(outcome, retry_after_s=float(wait_s))
