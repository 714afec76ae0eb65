"""Hints at the name that was probably meant. Pure, and bounded: a source may hold anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

_NAME_CHARS_MAX = 60
_KNOWN_MAX = 200


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'prompt'?`, or "" where no known name is like this one."""
    close = difflib.get_close_matches(
        name[:_NAME_CHARS_MAX].lower(), [*islice(known, _KNOWN_MAX)], n=1
    )
    return f"; did you mean {close[0]!r}?" if close else ""
