"""What a caller is told whom the guards of a target refuse, and when to come again."""

from __future__ import annotations

from headgate.core.breaker import Breaker
from headgate.core.gate import AUTHENTICATION, THROTTLE, Gate
from headgate.core.outcome import CREDENTIAL
from headgate.errors import BreakerOpen, RateLimited, Refused

_FOR_EVER_S = float("inf")


def longest_s(guards: tuple[tuple[str, Breaker | Gate], ...], now_s: float) -> float:
    """When the last of them would give leave, in seconds from now, infinite where nobody knows: who
    is told the time of another comes in vain."""
    waits = [guard.retry_after_s(now_s) for _, guard in guards]
    return max(_FOR_EVER_S if wait is None else wait for wait in waits)


def refused(target: str, gate: str, reason: str, wait_s: float) -> Refused:
    """The refusal of `target` by its guard `gate`, for `reason`, for so many seconds."""
    after_s = None if wait_s == _FOR_EVER_S else wait_s
    when = "" if after_s is None else f"; it is asked again in {after_s:.1f} s"
    if gate == CREDENTIAL and reason != AUTHENTICATION:
        why = "is throttled" if reason == THROTTLE else "has used up its quota"
        return RateLimited(f"the credential for {target} {why}{when}", retry_after_s=after_s)
    why = "refuses our credential" if gate == CREDENTIAL else "keeps failing"
    return BreakerOpen(f"{target} {why}{when}", retry_after_s=after_s)
