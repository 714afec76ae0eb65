"""Every check of the SDK transport: groups of them, each by the SDK that it needs."""

from __future__ import annotations

import sdk_checks_faults
import sdk_checks_streams
import sdk_checks_whole
from sdk_bench import Check, run_check

__all__ = ["ANTHROPIC", "GROUPS", "OPENAI", "run_check"]

OPENAI: dict[str, tuple[Check, ...]] = {
    "whole": sdk_checks_whole.OPENAI,
    "faults": sdk_checks_faults.OPENAI,
    "streams": sdk_checks_streams.OPENAI,
}
ANTHROPIC: dict[str, tuple[Check, ...]] = {
    "whole": sdk_checks_whole.ANTHROPIC,
    "faults": sdk_checks_faults.ANTHROPIC,
    "streams": sdk_checks_streams.ANTHROPIC,
}
GROUPS = {name: OPENAI[name] + ANTHROPIC[name] for name in OPENAI}
