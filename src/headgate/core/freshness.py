"""May this entry answer this call now, and how much of its time is left? Pure."""

from __future__ import annotations

from headgate.types import Controls, Entry

SKEW_MAX_S = 300.0
"""An entry from further in the future than this was stamped by a wrong clock: a miss."""


def is_fresh(entry: Entry, controls: Controls, now_s: float, stale_s: float = 0.0) -> bool:
    """Whether `entry` may be served at `now_s` (wall-clock seconds) under the caller's controls.

    Fresh until its ttl ends, the caller's `headgate-ttl` and `max-age` if they are shorter
    (RFC 9111 sections 4.2 and 5.2.1.1). With `stale_s` it may be so much past the earliest of them.
    """
    age_s = now_s - entry.created_s
    if age_s < -SKEW_MAX_S or now_s >= entry.expires_s + stale_s:
        return False
    if controls.max_age_s is not None and age_s > controls.max_age_s + stale_s:
        return False
    return controls.ttl_s is None or age_s < controls.ttl_s + stale_s


def stale_allowance_s(controls: Controls, usual_s: float, max_s: float) -> float:
    """How long past its time an entry may stand in for a failed call (RFC 5861 section 4): what the
    caller says, else `usual_s`; never more than `max_s`."""
    wanted_s = usual_s if controls.stale_if_error_s is None else controls.stale_if_error_s
    return min(wanted_s, max_s)


def age_s(entry: Entry, now_s: float) -> float:
    """Seconds since the entry was made, never negative."""
    return max(0.0, now_s - entry.created_s)
