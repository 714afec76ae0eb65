"""Whose fault it was: statuses, bodies, events, and the exceptions of real clients."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import anthropic
import httpx2
import openai
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st

from headgate import errors
from headgate.core.attribution import of_error, of_event, of_reply
from headgate.core.outcome import OUTCOMES, Outcome

WALL_S = 784_111_777.0


def body(**error: Any) -> bytes:
    return json.dumps({"error": error}).encode()


# Replies.


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ((200, 201, 204), "ok"),
        ((400, 422), "bad_request"),
        ((404,), "not_found"),
        ((413,), "too_large"),
        ((405, 410, 415, 418, 424, 451, 499), None),
        ((401,), "authentication"),
        ((403,), "blocked"),
        ((402,), "quota"),
        ((429,), "rate_limit"),
        ((408,), "timeout"),
        ((409,), "conflict"),
        ((425,), "too_early"),
        ((500, 501, 505, 507, 599), "server_error"),
        ((502, 520, 521, 522, 523, 524, 525, 526, 527), "bad_gateway"),
        ((503,), "unavailable"),
        ((504,), "gateway_timeout"),
        ((529,), "overloaded"),
        ((100, 301, 302, 307, 600, 999), "bad_payload"),
    ],
)
def test_a_status_alone_is_an_outcome(statuses: tuple[int, ...], reason: str | None) -> None:
    for status in statuses:
        outcome = of_reply(status)
        assert outcome.reason == (reason or f"status_{status}")
        if 400 <= status < 500 and status not in (401, 402, 403, 408, 409, 413, 425, 429):
            assert (outcome.kind, outcome.again, outcome.gate) == ("ignored", "never", "")
        elif status != 413:
            assert outcome == OUTCOMES[reason or ""]


def finer(code: str, kind: str = "invalid_request_error") -> bytes:
    return body(type=kind, details={"error_code": code})


def used_up(quota: str) -> bytes:
    return body(status="RESOURCE_EXHAUSTED", details=[{"violations": [{"quotaId": quota}]}])


def said(message: str) -> bytes:
    return body(type="invalid_request_error", message=message)


@pytest.mark.parametrize(
    ("status", "content", "reason"),
    [
        (429, body(code="insufficient_quota", type="insufficient_quota"), "quota"),
        (400, body(code="billing_hard_limit_reached"), "quota"),
        (429, finer("enforced_spend_limit_reached", "rate_limit_error"), "quota"),
        (400, said("Your credit balance is too low to access the Anthropic API."), "quota"),
        (400, said("You have reached your specified API usage limits."), "quota"),
        (400, said("Invalid value: 'Your credit balance is too low'."), "bad_request"),
        (403, said("... requires moderation and your input was flagged for ..."), "content_filter"),
        (429, used_up("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), "quota"),
        (429, used_up("GenerateRequestsPerMinutePerProject"), "rate_limit"),
        (429, body(code="rate_limit_exceeded", type="tokens"), "rate_limit"),
        (429, finer("ramp_limit_exceeded", "rate_limit_error"), "rate_limit"),
        (429, said("Request too large for gpt-4o on tokens per min: Limit 30000"), "too_large"),
        (400, body(code="context_length_exceeded"), "context_too_long"),
        (400, said("prompt is too long: 210000 tokens > 200000"), "context_too_long"),
        (400, said("This model's maximum context length is 8192."), "context_too_long"),
        (400, body(code="content_filter"), "content_filter"),
        (400, said("Output blocked by content filtering policy"), "content_filter"),
        (400, finer("organization_on_hold"), "permission"),
        (500, body(code="insufficient_quota"), "server_error"),
        (503, said("prompt is too long"), "unavailable"),
        (429, b"<html>Too many requests</html>", "rate_limit"),
    ],
)
def test_the_body_says_what_a_status_means(status: int, content: bytes, reason: str) -> None:
    assert of_reply(status, (), content).reason == reason
    assert of_reply(status, (), b"[" + content + b"]").reason == reason


def test_a_fault_carries_the_wait_that_the_provider_asks_for() -> None:
    assert of_reply(503, ((b"Retry-After", b"120"),)).retry_after_s == 120
    assert of_reply(529, ((b"retry-after-ms", b"250"),)).retry_after_s == 0.25
    later = b"Sun, 06 Nov 1994 08:50:37 GMT"
    assert of_reply(500, ((b"retry-after", later),), b"", WALL_S).retry_after_s == 60
    assert of_reply(503, ((b"retry-after", b"NaN"),)).retry_after_s is None


def test_a_throttle_waits_for_the_longest_of_what_it_is_told() -> None:
    headers = (
        (b"retry-after", b"2"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"6m0s"),
    )
    assert of_reply(429, headers).retry_after_s == 360
    assert of_reply(500, headers).retry_after_s == 2
    delay = body(
        details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"}]
    )
    assert of_reply(429, (), delay).retry_after_s == 38


def test_the_delay_of_a_daily_quota_is_not_believed() -> None:
    details = [
        {"violations": [{"quotaId": "RequestsPerDay"}]},
        {"@type": "google.rpc.RetryInfo", "retryDelay": "38s"},
    ]
    outcome = of_reply(429, (), body(details=details))
    assert (outcome.reason, outcome.retry_after_s) == ("quota", None)


def test_a_provider_that_says_not_to_retry_is_obeyed() -> None:
    outcome = of_reply(503, ((b"x-should-retry", b"false"),))
    assert (outcome.again, outcome.elsewhere, outcome.kind) == ("never", "anywhere", "fault")


@given(st.integers(100, 999), st.binary(max_size=40), st.binary(max_size=20))
def test_no_reply_is_an_error_of_ours(status: int, content: bytes, wait: bytes) -> None:
    outcome = of_reply(status, ((b"retry-after", wait),), content)
    assert outcome.kind in ("ok", "fault", "ignored")


# Events of a stream with status 200.


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"type": "api_error"}, "server_error"),
        ({"type": "overloaded_error"}, "overloaded"),
        ({"type": "rate_limit_error"}, "rate_limit"),
        ({"type": "timeout_error"}, "gateway_timeout"),
        ({"type": "authentication_error"}, "authentication"),
        ({"type": "permission_error"}, "permission"),
        ({"type": "not_found_error"}, "not_found"),
        ({"type": "billing_error"}, "quota"),
        ({"type": "invalid_request_error"}, "bad_request"),
        ({"code": "insufficient_quota", "type": "insufficient_quota"}, "quota"),
        ({"code": "server_error"}, "server_error"),
        ({"code": 502, "message": "Provider returned error"}, "bad_gateway"),
        ({"status": "UNAVAILABLE"}, "unavailable"),
        ({"code": "invalid_base64_image"}, "bad_request"),
        ({"code": "failed_to_download_image"}, "bad_request"),
        ({"message": "nobody knows"}, "server_error"),
    ],
)
def test_an_error_event_before_content_is_what_its_status_would_have_been(
    error: dict[str, Any], reason: str
) -> None:
    assert of_event(body(**error)).reason == reason
    assert of_event(body(**error), committed=True) == OUTCOMES["mid_stream"]


# Exceptions.


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.UpstreamUnreachable("x"), "unreachable"),
        (errors.UpstreamTimeout("x", stage="connect"), "connect_timeout"),
        (errors.UpstreamTimeout("x", stage="first_token"), "first_token_timeout"),
        (errors.UpstreamTimeout("x", stage="idle"), "idle_timeout"),
        (errors.UpstreamTimeout("x", stage="total"), "total_timeout"),
        (errors.UpstreamGarbled("x"), "bad_payload"),
        (errors.StreamBroken("x"), "cut"),
        (errors.UpstreamFailed("x"), "reset"),
        (errors.CacheOnlyMiss("x"), "refused"),
        (errors.UnknownModel("x"), "refused"),
        (errors.BadRequest("x"), "refused"),
        (errors.Closed("x"), "refused"),
    ],
)
def test_our_own_errors_have_their_outcome(error: Exception, reason: str) -> None:
    assert of_error(error) == OUTCOMES[reason]
    assert of_error(error).sent is getattr(error, "sent", None) or reason == "refused"


def test_a_certificate_that_does_not_hold_is_not_tried_again() -> None:
    error = caused(errors.UpstreamUnreachable("x"), ssl.SSLCertVerificationError("expired"))
    assert of_error(error) == OUTCOMES["certificate"]


REQUEST = httpx2.Request("POST", "http://localhost/v1/chat/completions")
KEY = ConnectionKey("localhost", 1, False, True, None, None, None)


def status_error(make: Callable[..., Exception], status: int, error: Any) -> Exception:
    response = httpx2.Response(status, headers={"Retry-After": "7"}, request=REQUEST)
    return make("said no", response=response, body=error)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (openai.APIConnectionError(request=REQUEST), "reset"),
        (
            caused(openai.APIConnectionError(request=REQUEST), httpx2.ConnectError("x")),
            "unreachable",
        ),
        (openai.APITimeoutError(REQUEST), "total_timeout"),
        (caused(openai.APITimeoutError(REQUEST), httpx2.ConnectTimeout("x")), "connect_timeout"),
        (caused(anthropic.APITimeoutError(REQUEST), httpx2.PoolTimeout("full")), "refused"),
        (openai.APIError("overloaded", REQUEST, body={"type": "overloaded_error"}), "overloaded"),
        (httpx2.ReadTimeout("slow"), "total_timeout"),
        (httpx2.RemoteProtocolError("closed"), "reset"),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "refused")), "unreachable"),
        (aiohttp.ServerDisconnectedError(), "reset"),
        (aiohttp.ClientPayloadError("cut"), "reset"),
        (aiohttp.ConnectionTimeoutError(), "connect_timeout"),
        (TimeoutError(), "total_timeout"),
        (ConnectionRefusedError(), "unreachable"),
        (ConnectionResetError(), "reset"),
        (BrokenPipeError(), "reset"),
        (socket.gaierror(), "unreachable"),
        (ssl.SSLCertVerificationError(), "certificate"),
        (json.JSONDecodeError("x", "", 0), "bad_payload"),
    ],
)
def test_the_exceptions_of_clients_have_their_outcome(error: Exception, reason: str) -> None:
    assert of_error(error) == OUTCOMES[reason]


@pytest.mark.parametrize("sdk", [openai, anthropic])
@pytest.mark.parametrize(
    ("name", "status", "error", "reason"),
    [
        ("RateLimitError", 429, {"type": "rate_limit_error"}, "rate_limit"),
        ("RateLimitError", 429, {"error": {"code": "insufficient_quota"}}, "quota"),
        ("AuthenticationError", 401, None, "authentication"),
        ("BadRequestError", 400, {"message": "prompt is too long: 9 > 8"}, "context_too_long"),
        ("InternalServerError", 500, "<html>", "server_error"),
        ("InternalServerError", 503, None, "unavailable"),
    ],
)
def test_a_status_error_of_an_sdk_is_what_the_reply_was(
    sdk: Any, name: str, status: int, error: Any, reason: str
) -> None:
    outcome = of_error(status_error(getattr(sdk, name), status, error))
    assert (outcome.reason, outcome.retry_after_s) == (reason, 7)


def test_a_reply_that_an_sdk_cannot_validate_is_a_bad_payload() -> None:
    response = httpx2.Response(200, request=REQUEST)
    error = openai.APIResponseValidationError(response=response, body=None)
    assert of_error(error) == OUTCOMES["bad_payload"]


def test_a_status_is_found_where_other_clients_keep_it() -> None:
    response = httpx2.Response(503, request=REQUEST)
    error = httpx2.HTTPStatusError("x", request=REQUEST, response=response)
    assert of_error(error) == OUTCOMES["unavailable"]
    info: Any = None
    limited = aiohttp.ClientResponseError(info, (), status=429, headers={"Retry-After": "3"})
    assert of_error(limited).retry_after_s == 3


def left() -> list[BaseException]:
    return [asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt(), SystemExit()]


@pytest.mark.parametrize("error", left(), ids=lambda error: type(error).__name__)
def test_who_is_cancelled_or_interrupted_has_left(error: BaseException) -> None:
    assert of_error(error) == OUTCOMES["left"]
    assert of_error(error, committed=True) == OUTCOMES["left"]


def test_any_other_exception_of_a_callable_is_a_fault_that_is_not_repeated() -> None:
    expected = Outcome("fault", "ValueError", "silent", "deployment")
    assert of_error(ValueError("boom")) == expected
    assert not expected.retryable


def test_an_exception_may_say_itself_how_long_to_wait() -> None:
    class Busy(Exception):
        def __init__(self, wait: Any) -> None:
            self.retry_after_s = wait

    assert of_error(Busy(20)).retry_after_s == 20
    assert of_error(errors.UpstreamFailed("x", retry_after_s=3)).retry_after_s == 3
    for wait in (-1, float("nan"), float("inf"), "20", True, None):
        assert of_error(Busy(wait)).retry_after_s is None


def test_a_fault_after_content_has_left_is_one_in_mid_stream() -> None:
    for error in (errors.StreamBroken("x"), TimeoutError(), ValueError()):
        assert of_error(error, committed=True) == OUTCOMES["mid_stream"]
    assert of_error(errors.BadRequest("x"), committed=True) == OUTCOMES["refused"]
