"""How much work something is, told without a clock."""

from __future__ import annotations

import sys
from collections.abc import Callable


def executed_lines(work: Callable[[], object]) -> int:
    """How many lines of Python run in `work`: what a busy machine does not change."""
    count = 0

    def trace(frame: object, event: str, _: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(before)
    return count
