"""Durations and sizes as people write them, and the bounds a setting may have. Pure."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, NamedTuple

_DURATION_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20,
               "GiB": 2**30}  # fmt: skip
_EXACT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?", re.ASCII)
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)


class Bounds(NamedTuple):
    """Allowed range of a number, ends included unless `above` (then the low end is excluded)."""

    low: float = 0
    high: float = math.inf
    above: bool = False

    def describe(self) -> str:
        """The range in words, for a message."""
        low = f"more than {self.low:g}" if self.above else f"at least {self.low:g}"
        return low if self.high == math.inf else f"{low} and at most {self.high:g}"

    def admit(self, number: float) -> bool:
        """Whether `number` is inside; never for NaN."""
        return (number > self.low if self.above else number >= self.low) and number <= self.high


Seconds = Annotated[float, "duration"]
"""Seconds; in a file also `250ms`, `90s`, `5m`, `2h`, `7d`."""
Bytes = Annotated[int, "size"]
"""Bytes; in a file also `64KB`, `256MB`, `1GB` (powers of 1000) or `KiB`, `MiB`, `GiB`."""
Dollars = Annotated[Decimal, "dollars"]
"""Dollars per million tokens, to the nano-dollar; in a file a number or a string of one."""
Factor = Annotated[Decimal, "factor"]
"""A share, exact to nine digits; in a file as `Dollars`."""

EXACT_DIGITS = 9
"""Digits after the point: a nano-dollar is the ninth."""
_EXACT_TEXT_MAX = 28


def parse_duration(text: str | float) -> float:
    """Seconds of `90s`, `5m`, `2h`, or of a bare number of seconds; finite, >= 0.

    Raises ValueError naming the accepted forms.
    """
    return _parse(text, _DURATION_S, "a duration such as 250ms, 90s, 5m, 2h or 7d")


def parse_size(text: str | int) -> int:
    """Bytes of `64MB`, `1GiB`, or of a bare number of bytes; >= 0.

    Raises ValueError naming the accepted forms.
    """
    return int(_parse(text, _SIZE_BYTES, "a size such as 64KB, 256MB or 1GiB"))


def parse_exact(text: str | float) -> Decimal:
    """The number as it is written, `0.15` or 0.15: a float counts as its own shortest digits.

    Raises ValueError saying which forms there are.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError("not a number")
    written = text.strip() if isinstance(text, str) else repr(text)
    if len(written) > _EXACT_TEXT_MAX or not _EXACT.fullmatch(written):
        raise ValueError("not a number")
    number = Decimal(written)
    # Not by Decimal's own arithmetic, whose precision the program around us may have changed.
    if 10**EXACT_DIGITS % number.as_integer_ratio()[1]:
        raise ValueError(f"more than {EXACT_DIGITS} digits after the point")
    return number


def _parse(text: str | float, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"expected {wanted}, got {text!r}")
    if isinstance(text, str):
        match = _NUMBER_AND_UNIT.fullmatch(text)
        factor = units.get(match[2]) if match and match[2] else 1
        if match is None or factor is None:
            raise ValueError(f"expected {wanted}, got {text!r}")
        number = float(match[1]) * factor
        if number == math.inf:
            raise ValueError(f"expected {wanted}, got a number that is too large")
        return number
    if not math.isfinite(text) or text < 0:
        raise ValueError(f"expected {wanted}, got {text!r}")
    return float(text)


def format_duration(seconds: float) -> str:
    """An exact spelling, in the largest unit that needs no fraction: 7200.0 becomes `2h`, 90.0
    `90s`, 0.25 `250ms`. `parse_duration` reads the same number back."""
    for unit in ("d", "h", "m", "s", "ms"):
        count = round(seconds / _DURATION_S[unit])
        if count >= 1 and count * _DURATION_S[unit] == seconds and (unit != "m" or count >= 2):
            return f"{count}{unit}"
    # A float's own digits, without an exponent: `1e-07` is no duration that can be read.
    return f"{Decimal(repr(float(seconds))):f}s" if seconds else "0s"


def format_size(size_bytes: int) -> str:
    """The shortest exact spelling: 256000000 becomes `256MB`."""
    for unit in ("GB", "MB", "KB"):
        if size_bytes and size_bytes % _SIZE_BYTES[unit] == 0:
            return f"{size_bytes // _SIZE_BYTES[unit]}{unit}"
    return f"{size_bytes}B"
