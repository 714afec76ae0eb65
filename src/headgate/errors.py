"""The error tree. Each error says whose fault it was and whether anything left this process.

    HeadgateError
      ConfigError            at start only: file, key, line, what would be right
      BadRequest             the caller's request cannot be understood (4xx)
        WrongMethod          the route takes another method (405)
      Refused                we said no before sending: sent is False
        BreakerOpen          what was to be called keeps failing
        RateLimited          too many requests or tokens, ours or a provider's count of them
        SpendExhausted       the budget of the client's key is used up
        Unpriced             a budget is to pay for what has no known price
        QueueFull            too much is under way: no place, and no room to wait
        CacheOnlyMiss        `only-if-cached` and nothing stored
        UnknownModel         no target for this model
      UpstreamFailed         the provider, or the way to it
        UpstreamUnreachable  no connection: sent is False
        UpstreamTimeout      connect, first token, idle or total
        UpstreamGarbled      an answer we cannot make sense of
          UpstreamTooLarge   or one that is larger than it may be
        StreamBroken         ended in the middle
      StoreError             never reaches a caller: a store that fails is a miss
      Closed                 the runtime was closed

This file imports nothing of headgate.
"""

from __future__ import annotations


class HeadgateError(Exception):
    """Base of everything headgate raises on purpose.

    `status_hint` is the HTTP status a surface should answer with, `code` a stable short name,
    `sent` whether any byte of the call may have reached a provider (retry, fallback and billing
    need just that bit), `retry_after_s` how long to wait before asking again, if known.
    """

    status_hint = 500
    code = "internal_error"
    sent = False
    retry_after_s: float | None = None
    attempts = 0
    """How many attempts were made before it."""
    should_retry: bool | None = False
    """What a client is told of trying again: no, or (None) what its SDK thinks best."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class Problem:
    """One thing wrong with a configuration: where, what, and what would be right."""

    __slots__ = ("key", "line", "message")

    def __init__(self, key: str, message: str, line: int | None = None) -> None:
        self.key = key
        self.message = message
        self.line = line

    def __repr__(self) -> str:
        return f"Problem({self.key!r}, {self.message!r}, line={self.line})"


class ConfigError(HeadgateError):
    """The configuration cannot be used. Carries every problem found, not only the first."""

    code = "config_error"

    def __init__(self, problems: list[Problem], file: str = "") -> None:
        self.problems = problems
        self.file = file
        super().__init__("\n".join(self._line(p) for p in problems))

    def _line(self, problem: Problem) -> str:
        place = self.file
        if problem.line is not None:
            place = f"{place}:{problem.line}"
        return ": ".join(part for part in (place, problem.key, problem.message) if part)


class BadRequest(HeadgateError):
    """The request is ambiguous or malformed; the message names what would be right."""

    status_hint = 400
    code = "invalid_request"

    def __init__(self, message: str, *, status: int = 400, code: str = "") -> None:
        super().__init__(message)
        self.status_hint = status
        if code:
            self.code = code


class WrongMethod(BadRequest):
    """The route takes other methods: those in `allow` (RFC 9110 section 15.5.6)."""

    code = "wrong_method"

    def __init__(self, message: str, *, allow: str = "") -> None:
        super().__init__(message, status=405)
        self.allow = allow


class Refused(HeadgateError):
    """We said no before sending anything."""

    status_hint = 503
    code = "refused"


class BreakerOpen(Refused):
    """A circuit breaker refuses, because what it guards keeps failing.

    `retry_after_s` is when it will be tried again; None if a person has opened the breaker.
    """

    code = "provider_unavailable"


class RateLimited(Refused):
    """Too much for now: a limit of ours, or a credential that its provider has throttled."""

    status_hint = 429
    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        # SDKs wait up to a minute for a Retry-After; what lies further off they would ask too soon.
        waits = retry_after_s is not None and retry_after_s <= SDK_WAIT_MAX_S
        self.should_retry = None if waits else False


SDK_WAIT_MAX_S = 60.0
"""How long the official SDKs wait for a Retry-After at most."""


class SpendExhausted(Refused):
    """The budget of the client's key is used up; `retry_after_s` is when it begins anew."""

    status_hint = 402
    code = "budget_exhausted"


class Unpriced(Refused):
    """The client's key has a budget, and nobody knows what this model costs."""

    status_hint = 403
    code = "model_unpriced"


class QueueFull(Refused):
    """Too much is under way already, and this call found no room to wait, or waited too long."""

    status_hint = 503
    code = "queue_full"


class CacheOnlyMiss(Refused):
    """`Cache-Control: only-if-cached` and no entry that would do (RFC 9111 section 5.2.1.7)."""

    status_hint = 504
    code = "cache_only_miss"


class UnknownModel(Refused):
    """No configured provider serves this model."""

    status_hint = 404
    code = "model_not_found"


class UpstreamFailed(HeadgateError):
    """The provider, or the way to it, failed us."""

    status_hint = 502
    code = "upstream_failed"
    sent = True


class UpstreamUnreachable(UpstreamFailed):
    """Name, connection or TLS handshake failed: nothing was sent, so trying again is free."""

    code = "upstream_unreachable"
    sent = False


class UpstreamTimeout(UpstreamFailed):
    """A time limit passed; `stage` is connect, first_token, idle, total, or deadline (the call's
    own, for all its attempts)."""

    status_hint = 504
    code = "upstream_timeout"

    def __init__(self, message: str, *, stage: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.sent = stage != "connect"


class UpstreamGarbled(UpstreamFailed):
    """The provider's answer is not HTTP, too large, or not what its status promises."""

    code = "upstream_garbled"


class UpstreamTooLarge(UpstreamGarbled):
    """The provider's answer is larger than it may be. What was asked for decides that, so asking
    again would be paid for again."""

    code = "upstream_too_large"


class StreamBroken(UpstreamFailed):
    """The answer ended before it was complete."""

    code = "stream_broken"


class StoreError(HeadgateError):
    """A store failed. Stays below the cache layer: for a caller it is a miss."""

    code = "store_error"


class Closed(HeadgateError):
    """The runtime was closed before this call."""

    status_hint = 503
    code = "closed"
