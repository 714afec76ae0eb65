"""Moments and durations as providers spell them: HTTP dates, RFC 3339, and `6m0s`. Pure.

Each returns seconds, or None for whatever it cannot read: a reply's header is never an error of
ours. Calendar arithmetic is done here because `email.utils` and `datetime` can also read clocks.
"""

from __future__ import annotations

import math
import re

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LONGEST = 64

_TIME = r"(?P<h>\d{2}):(?P<mi>\d{2}):(?P<s>\d{2})"
_HTTP_DATES = tuple(
    re.compile(pattern, re.ASCII | re.IGNORECASE)
    for pattern in (
        rf"[a-z]{{3}}, (?P<d>\d{{2}}) (?P<mo>[a-z]{{3}}) (?P<y>\d{{4}}) {_TIME} GMT",
        rf"[a-z]{{6,9}}, (?P<d>\d{{2}})-(?P<mo>[a-z]{{3}})-(?P<y>\d{{2}}) {_TIME} GMT",
        rf"[a-z]{{3}} (?P<mo>[a-z]{{3}}) (?P<d>[ \d]\d) {_TIME} (?P<y>\d{{4}})",
    )
)
_RFC_3339 = re.compile(
    rf"(?P<y>\d{{4}})-(?P<mo>\d{{2}})-(?P<d>\d{{2}})[T ]{_TIME}(?P<f>\.\d{{1,9}})?"
    r"(?:Z|(?P<sign>[+-])(?P<oh>\d{2}):(?P<om>\d{2}))",
    re.ASCII | re.IGNORECASE,
)
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{0,9})?)(h|ms|m|s|us|µs|ns)")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]*)?([eE][0-9]{1,3})?|\.[0-9]{1,9}")


def seconds(text: str) -> float | None:
    """A plain number of seconds, finite and >= 0: `5`, `0.25`, `1e9`.

    Stricter than `float`, which also takes `nan`, `1_000` and digits of other scripts.
    """
    text = text.strip()
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def duration(text: str) -> float | None:
    """Seconds of `6m0s`, `120ms`, `1h2m3s`, `38s` (Go's and protobuf's durations), >= 0."""
    text = text.strip()
    parts = _PART.findall(text) if len(text) <= _LONGEST else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def http_date(text: str) -> float | None:
    """Seconds since 1970 of a date in any of the three forms of RFC 9110 section 5.6.7."""
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    match = next((m for form in _HTTP_DATES if (m := form.fullmatch(text))), None)
    if match is None or match["mo"].lower() not in _MONTHS:
        return None
    year = int(match["y"])
    if year < 100:  # two digits: 1970 to 2069
        year += 1900 if year >= 70 else 2000
    return _moment(match, year, 1 + _MONTHS.index(match["mo"].lower()))


def rfc_3339(text: str) -> float | None:
    """Seconds since 1970 of a stamp such as `2026-01-02T03:04:05.25Z` or `...+02:00`."""
    match = _RFC_3339.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        return None
    moment_s = _moment(match, int(match["y"]), int(match["mo"]))
    if moment_s is None or not match["sign"]:
        return None if moment_s is None else moment_s + float(match["f"] or 0)
    offset_s = int(match["oh"]) * 3600 + int(match["om"]) * 60
    ahead_s = offset_s if match["sign"] == "+" else -offset_s
    return moment_s + float(match["f"] or 0) - ahead_s


def _moment(match: re.Match[str], year: int, month: int) -> float | None:
    day, hour, minute, second = (int(match[part]) for part in ("d", "h", "mi", "s"))
    is_date = year >= 1970 and 1 <= month <= 12 and 1 <= day <= _DAYS[month - 1]
    # 60 is a leap second, as both standards allow.
    if not is_date or hour > 23 or minute > 59 or second > 60:
        return None
    return 86400.0 * _days(year, month, day) + hour * 3600 + minute * 60 + second


def _days_in(year: int, month: int) -> int:
    is_leap_year = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return _DAYS[month - 1] + (month == 2 and is_leap_year)


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March, so
    that a leap day is the last of its year."""
    year -= month <= 2
    since_march = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    leap_days = year // 4 - year // 100 + year // 400
    return 365 * year + leap_days + since_march - 719468
