"""What bodies of failed replies say, in the shapes that providers and SDKs give them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.error_note import BODY_MAX_BYTES, NO_NOTE, ErrorNote, note_of, read_error

GEMINI = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"},
        ],
    }
}
GEMINI_NOTE = ErrorNote(
    "RESOURCE_EXHAUSTED",
    "",
    "You exceeded your current quota.",
    429,
    38.0,
    ("GenerateRequestsPerDayPerProjectPerModel-FreeTier",),
)


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (
            {
                "error": {
                    "message": "m",
                    "type": "invalid_request_error",
                    "code": "c",
                    "param": None,
                }
            },
            ErrorNote("invalid_request_error", "c", "m"),
        ),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
            ErrorNote("overloaded_error", "", "m"),
        ),
        (
            {"type": "response.failed", "response": {"error": {"code": "server_error"}}},
            ErrorNote("", "server_error", ""),
        ),
        (
            {"error": {"type": "rate_limit_error", "details": {"error_code": "ramp"}}},
            ErrorNote("rate_limit_error", "ramp", ""),
        ),
        (GEMINI, GEMINI_NOTE),
        ([GEMINI], GEMINI_NOTE),
        ({"error": {"code": 502, "message": "m"}}, ErrorNote(message="m", status=502)),
        ({"code": "x", "type": "t", "message": "m"}, ErrorNote("t", "x", "m")),
        ({"detail": "Not Found"}, ErrorNote(message="Not Found")),
        ({"error": "some text"}, ErrorNote(message="some text")),
        ("some text", ErrorNote(message="some text")),
    ],
)
def test_each_shape_of_an_error_is_read(body: Any, note: ErrorNote) -> None:
    assert note_of(body) == note
    assert read_error(json.dumps(body).encode()) == note


@pytest.mark.parametrize("code", [True, 200, 399, 600, 4.29, None, "429"])
def test_a_code_that_is_no_failed_status_is_none(code: Any) -> None:
    assert note_of({"error": {"code": code}}).status is None


@pytest.mark.parametrize("delay", ["soon", "-1s", 38, None, "", {"seconds": 38}])
def test_a_delay_that_cannot_be_read_is_none(delay: Any) -> None:
    details = [{"@type": "google.rpc.RetryInfo", "retryDelay": delay}]
    assert note_of({"error": {"details": details}}).retry_delay_s is None


@pytest.mark.parametrize("content", [b"", b"<html>502</html>", b"[]", b"null", b"7", b"[" * 90_000])
def test_a_body_that_says_nothing_is_no_note(content: bytes) -> None:
    assert read_error(content) == NO_NOTE


def test_a_body_too_long_for_an_error_is_not_read_and_a_message_is_cut() -> None:
    long = json.dumps({"error": {"message": "m" * BODY_MAX_BYTES}}).encode()
    assert read_error(long) == NO_NOTE
    assert len(note_of({"error": {"message": "m" * 9_000}}).message) == 2_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "response", "code", "details", "violations", "message", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_body_is_an_error(body: Any) -> None:
    assert isinstance(note_of(body), ErrorNote)


@given(st.binary(max_size=60))
def test_no_bytes_are_an_error(content: bytes) -> None:
    assert isinstance(read_error(content), ErrorNote)
