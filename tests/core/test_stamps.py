"""Moments and durations as providers spell them, compared with the standard library."""

from __future__ import annotations

import datetime
import email.utils
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.stamps import duration, http_date, rfc_3339, seconds

UTC = datetime.UTC
moments = st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(9999, 12, 31))  # noqa: DTZ001
GARBAGE = ["", " ", "soon", "nan", "inf", "-1", "+5", "1_000", "٣", "5 s", "0x10", "1,5", "9" * 99]


@given(moments)
def test_an_http_date_is_what_the_standard_library_reads(moment: datetime.datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    text = email.utils.format_datetime(moment, usegmt=True)
    assert http_date(text) == moment.timestamp()
    assert http_date(moment.strftime("%a %b ") + f"{moment.day:2d}" + moment.strftime(" %H:%M:%S ")
                     + f"{moment.year:04d}") == moment.timestamp()  # fmt: skip


def test_the_three_forms_of_the_standard_are_the_same_moment() -> None:
    forms = [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ]
    assert {http_date(form) for form in forms} == {784111777.0}


@given(moments, st.integers(-12 * 60, 14 * 60))
def test_an_rfc_3339_stamp_is_what_the_standard_library_reads(
    moment: datetime.datetime, offset_min: int
) -> None:
    zone = datetime.timezone(datetime.timedelta(minutes=offset_min))
    text = moment.replace(tzinfo=zone).isoformat()
    assert rfc_3339(text) == pytest.approx(moment.replace(tzinfo=zone).timestamp(), abs=1e-4)
    assert rfc_3339(moment.isoformat() + "Z") == rfc_3339(moment.isoformat() + "+00:00")


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 31 Feb 2026 08:49:37 GMT",
        "Sun, 00 Nov 2026 08:49:37 GMT",
        "Sun, 06 Nov 2026 24:49:37 GMT",
        "Sun, 06 Nov 2026 08:60:37 GMT",
        "Sun, 06 Nov 2026 08:49:61 GMT",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 Foo 2026 08:49:37 GMT",
        "Sun, 06 Nov 2026 08:49:37 CET",
        "Sun, 06 Nov 2026 08:49:37 GMT and more",
        *GARBAGE,
    ],
)
def test_what_is_no_http_date_is_none(text: str) -> None:
    assert http_date(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-13-01T00:00:00Z",
        *GARBAGE,
    ],
)
def test_what_is_no_rfc_3339_stamp_is_none(text: str) -> None:
    assert rfc_3339(text) is None


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("6m0s", 360),
        ("1s", 1),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("38s", 38),
        ("0s", 0),
        ("7.66s", 7.66),
        ("12µs", 12e-6),
        (" 1m ", 60),
    ],
)
def test_a_duration_adds_its_parts_up(text: str, expected_s: float) -> None:
    assert duration(text) == pytest.approx(expected_s)


@pytest.mark.parametrize("text", ["5", "1d", "m", "1s-", "-1s", "1 s", "1s2", *GARBAGE])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert duration(text) is None


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [("5", 5), ("0", 0), ("0.25", 0.25), ("1e9", 1e9), (" 7 ", 7), ("2.", 2)],
)
def test_a_number_of_seconds_is_read(text: str, expected_s: float) -> None:
    assert seconds(text) == expected_s


@pytest.mark.parametrize("text", [*GARBAGE, "1e999", "Infinity", "1e-3"])
def test_what_is_no_finite_number_of_seconds_is_none(text: str) -> None:
    assert seconds(text) is None


@given(st.text(max_size=80))
def test_no_text_is_an_error(text: str) -> None:
    for read in (seconds, duration, http_date, rfc_3339):
        found = read(text)
        assert found is None or (math.isfinite(found) and found >= -86400)
