"""Which target is asked first, and which next: by order, by weight, by what went wrong. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from headgate.core.breaker import Breaker
from headgate.core.outcome import (
    ANYWHERE,
    CREDENTIAL,
    LONGER_CONTEXT,
    NOWHERE,
    OTHER_CREDENTIAL,
    OTHER_POLICY,
    Outcome,
)
from headgate.core.splitmix import uniform
from headgate.types import CONTENT, CONTEXT, FALLBACK, TARGET, Route

_ROLES = {ANYWHERE: (TARGET, FALLBACK), OTHER_CREDENTIAL: (TARGET, FALLBACK),
          LONGER_CONTEXT: (CONTEXT,), OTHER_POLICY: (CONTENT,), NOWHERE: ()}  # fmt: skip
_LEAST = 2.0**-53

STANDING_MIN = 0.03
"""Of those that fail: a few calls find out when they are well again."""
_STANDING_POWER = 8
_DRAWN, _WRITTEN, _PASSED_OVER, _STAND_IN = range(4)


def standing(breaker: Breaker, now_s: float) -> float:
    """How much of its share of calls a target gets, by the share of faults in its breaker's window:
    1 for all of it, at least `STANDING_MIN`. Calls too few to open it decide nothing here, either,
    and one fault among them is no sign.

    Failures go on to others, which take repeats for a tenth of their own calls only. Where one that
    would get all calls fails in a share f of them, and a second one gets what it does not, f times
    its own share s must be at most 0.1 (1 - s). With s = (1 - f)^8 it is, to within 0.002.
    """
    window = breaker.window
    if window.faults < 2:
        return 1.0
    window.refresh(now_s)
    if window.faults < 2 or window.calls < breaker.settings.calls_needed:
        return 1.0
    good = 1 - (window.faults - 1) / window.calls
    return float(max(STANDING_MIN, good**_STANDING_POWER))


def _full(route: Route) -> float:
    return 1.0


def ordered(
    routes: tuple[Route, ...],
    seed: int,
    number: int,
    standing_of: Callable[[Route], float] = _full,
) -> tuple[Route, ...]:
    """The routes of one call, `number` counting calls: as written, but for targets with weights,
    and for those whose standing, in (0, 1], is not full.

    Targets with weights come first, each as often as its share says: the smallest of -ln(u) / w is
    the first (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006). Of those
    without, one of standing s keeps its place in that share of calls, and else comes last of them.
    """
    if len(routes) < 2:
        return routes
    standings = [standing_of(route) if route.role == TARGET else 1.0 for route in routes]
    if min(standings) == 1.0 and not any(route.weight for route in routes):
        return routes
    keys: list[tuple[int, float]] = []
    for place, (route, share) in enumerate(zip(routes, standings, strict=True)):
        chance = max(uniform(seed + place, number), _LEAST)
        if route.role != TARGET:
            keys.append((_STAND_IN, place))
        elif route.weight > 0:
            keys.append((_DRAWN, -math.log(chance) / (route.weight * share)))
        else:
            keys.append((_WRITTEN if chance <= share else _PASSED_OVER, place))
    return tuple(routes[place] for place in sorted(range(len(routes)), key=keys.__getitem__))


def first(routes: Iterable[Route], may_be_asked: Callable[[Route], bool]) -> Route | None:
    """Where a call goes: the first target that may be asked now, else the first stand-in that may,
    else the first target, which then says why not."""
    candidates = [route for route in routes if route.role in (TARGET, FALLBACK)]
    admitted = next((route for route in candidates if may_be_asked(route)), None)
    return admitted or next(iter(candidates), None)


def after(failed: Route, outcome: Outcome, left: Iterable[Route]) -> list[Route]:
    """Which of the routes that are left may follow `failed`, the best first.

    Once a stand-in for a long context or refused content has been asked, others for the same may
    follow. A fault of a deployment is met again with another key, so other deployments go first.
    """
    roles = set(_ROLES[outcome.elsewhere])
    if outcome.elsewhere in (ANYWHERE, OTHER_CREDENTIAL) and failed.role in (CONTEXT, CONTENT):
        roles = {failed.role}
    fitting = [route for route in left if route.role in roles]
    if outcome.elsewhere == OTHER_CREDENTIAL:
        fitting = [route for route in fitting if not _shares_key(route, failed)]
    if outcome.gate != CREDENTIAL:
        fitting.sort(key=lambda route: route.role == failed.role and _is_same(route, failed))
    return fitting


def _shares_key(one: Route, other: Route) -> bool:
    same = one.target.provider == other.target.provider
    return same and one.target.credential == other.target.credential


def _is_same(one: Route, other: Route) -> bool:
    return one.target.name == other.target.name
