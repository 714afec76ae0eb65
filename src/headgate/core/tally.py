"""Counters of a process as vectors of integers under names, and sums of them that never fall. Pure.

A reading may fall: a part was made anew when the configuration changed, or forgot what it guards.
What Prometheus reads may not, so readings are turned into growth, and growth is added up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
Name = tuple[str, ...]
"""The family, then the values of its labels."""
Tally = dict[Name, list[int]]
"""Every name has a vector of one length, the same in every process."""
Levels = dict[Name, float]
"""What may rise and fall: gauges."""

BREAKER_STATE, SINCE, SHARED_STORE = "breaker_state", "config_loaded", "shared_store"
BATCH = "batch"
CLOSED, OPEN, HALF_OPEN, BY_HAND = 0, 1, 2, 3
OTHER = "other"
_MODEL_AT = {"model": 1, "error": 1, "refusal": 1, "ledger": 1, "flights": 1, BATCH: 1,
             "attempt": 2, "attempt_time": 2, "in_flight": 2, "limit": 2, BREAKER_STATE: 3,
             "breaker_calls": 3, "breaker_open": 3}  # fmt: skip
"""Where the label is that clients may invent; a transition has it inside its target."""
_TRANSITION, _TARGET_AT = "transition", 2
_GRAVITY = (CLOSED, HALF_OPEN, BY_HAND, OPEN)


class Growth:
    """Adds up how much readings have grown. `pending` is what was added since `settle`."""

    def __init__(self) -> None:
        self.totals: Tally = {}
        self.pending: Tally = {}
        self._seen: dict[Name, Sequence[int]] = {}

    def take(self, reading: Mapping[Name, Sequence[int]], label: Callable[[Name], Name]) -> None:
        """Adds the growth since the reading before, under the names that `label` makes of those in
        the reading: what was added under one stays there."""
        for name, now in reading.items():
            before = self._seen.get(name)
            if before is not None and list(before) == list(now):
                continue
            grown = list(now) if before is None else _grown(before, now)
            self._seen[name] = list(now)
            shown = label(name)
            add(self.totals, shown, grown)
            add(self.pending, shown, grown)

    def forget(self, names: Iterable[Name]) -> None:
        """The next readings of these begin at 0: what counted them was made anew."""
        for name in names:
            self._seen.pop(name, None)

    def settle(self) -> None:
        """What was pending has been handed on."""
        self.pending = {}


def add(tally: Tally, name: Name, counts: Sequence[int]) -> None:
    """Adds `counts` to those under `name`."""
    known = tally.get(name)
    if known is None:
        tally[name] = list(counts)
    else:
        tally[name] = [mine + more for mine, more in zip(known, counts, strict=True)]


def model_of(name: Name) -> str:
    """The model that a name is about, "" where it is about none."""
    if name[0] == _TRANSITION:
        return name[_TARGET_AT].partition("/")[2]
    at = _MODEL_AT.get(name[0])
    return "" if at is None else name[at]


def folded(name: Name) -> Name:
    """`name` with `other` in place of its model."""
    if name[0] == _TRANSITION:
        target = f"{name[_TARGET_AT].partition('/')[0]}/{OTHER}"
        return (*name[:_TARGET_AT], target, *name[_TARGET_AT + 1 :])
    at = _MODEL_AT[name[0]]
    return (*name[:at], OTHER, *name[at + 1 :])


def grouped(named: Mapping[Name, T]) -> Mapping[str, list[tuple[Name, T]]]:
    """By family: the values of the labels, and what stands under them."""
    families: defaultdict[str, list[tuple[Name, T]]] = defaultdict(list)
    for (family, *labels), value in named.items():
        families[family].append((tuple(labels), value))
    return families


def combined(levels: Iterable[Levels]) -> Levels:
    """The levels of several processes as one: sums; of breakers the state that most needs to be
    seen; the earliest moment; of a store that they share what one of them says."""
    whole: Levels = {}
    for one in levels:
        for name, value in one.items():
            known = whole.get(name)
            whole[name] = value if known is None else _both(name[0], known, value)
    return whole


def _both(family: str, one: float, other: float) -> float:
    if family == BREAKER_STATE:
        return max(one, other, key=lambda state: _GRAVITY.index(int(state)))
    if family == SINCE:
        return min(one, other)
    if family.startswith(SHARED_STORE):
        return max(one, other)
    return one + other


def _grown(before: Sequence[int], now: Sequence[int]) -> list[int]:
    """Number by number; one that has fallen began at 0 again."""
    return [new - old if new >= old else new for old, new in zip(before, now, strict=True)]
