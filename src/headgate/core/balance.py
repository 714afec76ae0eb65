"""Which target is asked first, and which next: by order, by weight, by what went wrong. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

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


def ordered(routes: tuple[Route, ...], seed: int, number: int) -> tuple[Route, ...]:
    """The routes of one call, `number` counting calls: as written, but for targets with weights.

    Those come first, each as often as its share of the weights says: the smallest of -ln(u) / w is
    the first (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006).
    """
    if not any(route.weight for route in routes):
        return routes
    keys: list[tuple[bool, float]] = []
    for place, route in enumerate(routes):
        chance = max(uniform(seed + place, number), _LEAST)
        is_drawn = route.role == TARGET and route.weight > 0
        keys.append((not is_drawn, -math.log(chance) / route.weight if is_drawn else place))
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
