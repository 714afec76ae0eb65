"""How long to wait before an attempt is repeated, and what the provider said about it. Pure.

Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): U(0, min(cap, base x 2^n)).
What a provider asks for is a lower bound of the wait, never a reason to come earlier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from headgate.core.settings import Checked
from headgate.core.stamps import duration, http_date, rfc_3339, seconds
from headgate.core.units import Bounds, Seconds
from headgate.types import Headers

_EXPONENT_MAX = 64
_DIMENSIONS = ("requests", "tokens", "input-tokens", "output-tokens")
# A reset as a bare number: seconds to go, else seconds or milliseconds since 1970.
_EPOCH_S, _EPOCH_MS = 1e9, 1e11


@dataclass(frozen=True)
class BackoffSettings(Checked):
    """How retries wait. Raises ConfigError with every number that is out of its range."""

    backoff_base_s: Annotated[Seconds, Bounds(0, above=True)] = 0.5
    """Longest wait before the first retry; it doubles with each further one."""
    backoff_max_s: Annotated[Seconds, Bounds(0, above=True)] = 8.0
    """Longest wait of our own choice."""


def backoff_s(settings: BackoffSettings, retries: int, chance: float) -> float:
    """Full jitter before retry number `retries` (from 0); `chance` in [0, 1)."""
    ceiling_s = settings.backoff_base_s * 2.0 ** min(retries, _EXPONENT_MAX)
    return chance * min(ceiling_s, settings.backoff_max_s)


def wait_s(
    settings: BackoffSettings, retries: int, chance: float, retry_after_s: float | None = None
) -> float:
    """Seconds to wait before retry number `retries` (from 0); `chance` in [0, 1).

    With Retry-After: that, and up to a tenth of it or 1 s more, so that not all come back at once.
    One shorter than our own shortest step (`retry-after: 0`) is no reason to hammer.
    """
    if retry_after_s is None:
        return backoff_s(settings, retries, chance)
    asked_s = retry_after_s + chance * min(1.0, retry_after_s / 10)
    if retry_after_s < settings.backoff_base_s:
        return max(asked_s, backoff_s(settings, retries, chance))
    return asked_s


def header_map(headers: Headers) -> dict[str, str]:
    """Headers by lower-case name; of several with one name the first."""
    found: dict[str, str] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return found


def retry_after_s(headers: Mapping[str, str], wall_s: float | None = None) -> float | None:
    """Seconds that `retry-after-ms` or `retry-after` ask for, finite and >= 0; None for neither.

    A date is compared with the reply's own `date`, so that it does not matter how wrong our clock
    is, else with `wall_s` (seconds since 1970). One in the past, NaN and negative numbers say
    nothing. The order is that of the official SDKs.
    """
    milliseconds = seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    plain_s = seconds(text)
    if plain_s is not None:
        return plain_s
    return _until(http_date(text), headers, wall_s)


def with_plain_wait(handed_on: Headers, headers: Headers) -> Headers:
    """`handed_on` with a date in `retry-after` turned into seconds, by the `date` of the reply that
    had these `headers`: whoever reads it later has another clock."""
    fields = header_map(headers)
    text = fields.get("retry-after", "")
    if http_date(text) is None:
        return handed_on
    wait_s = retry_after_s({"retry-after": text, "date": fields.get("date", "")})
    if wait_s is None:
        return handed_on
    kept = tuple(header for header in handed_on if header[0] != b"retry-after")
    return (*kept, (b"retry-after", b"%d" % math.ceil(wait_s)))


def reset_s(headers: Mapping[str, str], wall_s: float | None = None) -> float | None:
    """Seconds until the latest reset among the limits that are used up; None if none is said to be.

    OpenAI: `x-ratelimit-remaining-requests: 0` and `x-ratelimit-reset-requests: 6m0s`. Anthropic:
    `anthropic-ratelimit-tokens-remaining: 0` and `...-reset: 2026-01-02T03:04:05Z`. The same for
    other dimensions, and `x-ratelimit-reset` as seconds to go or since 1970.
    """
    waits = []
    for dimension in _DIMENSIONS:
        for stem in (f"x-ratelimit-{{}}-{dimension}", f"anthropic-ratelimit-{dimension}-{{}}"):
            waits.append(_reset_of(headers, stem, wall_s))
    waits.append(_reset_of(headers, "x-ratelimit-{}", wall_s))
    return max((wait for wait in waits if wait is not None), default=None)


def _reset_of(headers: Mapping[str, str], stem: str, wall_s: float | None) -> float | None:
    if seconds(headers.get(stem.format("remaining"), "")) != 0:
        return None
    text = headers.get(stem.format("reset"), "")
    number = seconds(text)
    if number is None:
        length_s = duration(text)
        return _until(rfc_3339(text), headers, wall_s) if length_s is None else length_s
    if number < _EPOCH_S:
        return number
    return _until(number if number < _EPOCH_MS else number / 1000, headers, wall_s)


def _until(
    moment_s: float | None, headers: Mapping[str, str], wall_s: float | None
) -> float | None:
    said_s = http_date(headers.get("date", ""))
    now_s = wall_s if said_s is None else said_s
    if moment_s is None or now_s is None or moment_s < now_s:
        return None
    return moment_s - now_s
