"""How long a retry waits, and every spelling in which a provider says how long it should."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.backoff import (
    BackoffSettings,
    backoff_s,
    header_map,
    reset_s,
    retry_after_s,
    wait_s,
    with_plain_wait,
)
from headgate.errors import ConfigError

USUAL = BackoffSettings()
# Sun, 06 Nov 1994 08:49:37 GMT
NOVEMBER_S = 784_111_777.0
chances = st.floats(0, 1, exclude_max=True)
ALMOST_ONE = math.nextafter(1.0, 0.0)


@given(st.integers(0, 10_000), chances)
def test_full_jitter_is_between_nothing_and_the_doubled_base_up_to_the_cap(
    retries: int, chance: float
) -> None:
    waited_s = backoff_s(USUAL, retries, chance)
    assert 0 <= waited_s <= min(8.0, 0.5 * 2 ** min(retries, 10))


@pytest.mark.parametrize(("retries", "longest_s"), [(0, 0.5), (1, 1), (2, 2), (3, 4), (4, 8), (5, 8)])  # noqa: E501 # fmt: skip
def test_the_whole_range_is_used(retries: int, longest_s: float) -> None:
    assert backoff_s(USUAL, retries, 0.0) == 0
    assert backoff_s(USUAL, retries, 0.5) == longest_s / 2
    assert backoff_s(USUAL, retries, ALMOST_ONE) == pytest.approx(longest_s)


@given(st.integers(0, 100), chances, st.floats(0, 1e9))
def test_nobody_comes_back_earlier_than_it_was_asked_to(
    retries: int, chance: float, asked_s: float
) -> None:
    waited_s = wait_s(USUAL, retries, chance, asked_s)
    assert asked_s <= waited_s
    if asked_s >= USUAL.backoff_base_s:
        assert waited_s <= asked_s + min(1.0, asked_s / 10)


def test_those_who_were_told_the_same_do_not_come_back_at_once() -> None:
    assert wait_s(USUAL, 0, 0.5, 2.0) == 2.1
    assert wait_s(USUAL, 0, 0.5, 20.0) == 20.5
    assert wait_s(USUAL, 0, 0.0, 20.0) == 20.0


def test_a_retry_after_of_nothing_is_no_reason_to_hammer() -> None:
    assert wait_s(USUAL, 3, 0.5, 0.0) == backoff_s(USUAL, 3, 0.5) == 2.0
    assert wait_s(USUAL, 3, 0.5) == 2.0


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": " 20 "}, 20),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "1e9"}, 1e9),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "0.5"}, 0.0005),
        ({"retry-after-ms": "1500", "retry-after": "20"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "20"}, 20),
        ({"retry-after-ms": "-1", "retry-after": "20"}, 20),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT"}, 60),
        ({"retry-after": "Sunday, 06-Nov-94 08:50:37 GMT"}, 60),
        ({"retry-after": "Sun Nov  6 08:50:37 1994"}, 60),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0),
    ],
)
def test_each_spelling_of_retry_after_is_understood(
    headers: dict[str, str], expected_s: float
) -> None:
    assert retry_after_s(headers, NOVEMBER_S) == expected_s


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "NaN", "nan", "inf", "-inf", "-1", "-0.5", "1e999", "1_000", "0x10", "٣"),
        "Sun, 06 Nov 1994 08:49:36 GMT",  # past
        "Sun, 06 Nov 1994 25:00:00 GMT",
        "Sun, 99 Nov 1994 08:49:37 GMT",
    ],
)
def test_what_is_no_wait_says_nothing(text: str) -> None:
    assert retry_after_s({"retry-after": text}, NOVEMBER_S) is None
    assert retry_after_s({"retry-after-ms": text}, NOVEMBER_S) is None


def test_a_date_is_compared_with_the_date_of_the_reply_however_wrong_our_clock_is() -> None:
    headers = {
        "date": "Sun, 06 Nov 1994 08:49:37 GMT",
        "retry-after": "Sun, 06 Nov 1994 08:49:47 GMT",
    }
    for wall_s in (None, 0.0, NOVEMBER_S - 86_400, NOVEMBER_S + 86_400):
        assert retry_after_s(headers, wall_s) == 10
    del headers["date"]
    assert retry_after_s(headers, NOVEMBER_S) == 10
    assert retry_after_s(headers, None) is None


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, None),
        (
            {
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "1994-11-06T08:50:07Z",
                "anthropic-ratelimit-requests-remaining": "999",
                "anthropic-ratelimit-requests-reset": "1994-11-06T09:50:07Z",
            },
            30,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "7.66s",
            },
            7.66,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, 30),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2000000000"}, 2e9 - NOVEMBER_S),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2000000000000"}, 2e9 - NOVEMBER_S),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "1990-01-01T00:00:00Z",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_the_reset_of_the_limit_that_is_used_up_is_found(
    headers: dict[str, str], expected_s: float | None
) -> None:
    assert reset_s(headers, NOVEMBER_S) == expected_s


def test_headers_are_found_by_lower_case_name_and_the_first_one_counts() -> None:
    headers = ((b"Retry-After", b"1"), (b"retry-after", b"2"), (b"x-odd", b"\xff"))
    assert header_map(headers) == {"retry-after": "1", "x-odd": "ÿ"}


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text()))
def test_no_header_is_an_error(headers: dict[str, str]) -> None:
    found_s = retry_after_s(headers, NOVEMBER_S)
    assert found_s is None or (found_s >= 0 and math.isfinite(found_s))


@pytest.mark.parametrize("key", ["backoff_base_s", "backoff_max_s"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "1s"])
def test_a_wait_of_no_length_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        BackoffSettings(**{key: value})
    assert str(caught.value) == f"{key}: must be more than 0, got {value!r}"


def test_a_date_becomes_seconds_by_the_replys_own_clock() -> None:
    said = ((b"date", b"Tue, 14 Nov 2023 22:13:20 GMT"),
            (b"retry-after", b"Tue, 14 Nov 2023 22:13:50 GMT"))  # fmt: skip
    kept = ((b"x-request-id", b"1"), said[1])
    assert with_plain_wait(kept, said) == ((b"x-request-id", b"1"), (b"retry-after", b"30"))
    assert with_plain_wait(kept, said[1:]) == kept, "nothing to compare it with"
    plain = ((b"retry-after", b"30"),)
    assert with_plain_wait(plain, plain) == plain
