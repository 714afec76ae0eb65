"""The part of /metrics about targets: attempts, breakers, limits, repeats. Pure.

Labels come from the configuration, and from models that have answered (`counting.Labels`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headgate.core.histogram import BUCKETS
from headgate.core.outcome import FAULT, OUTCOMES
from headgate.core.tally import BREAKER_STATE, Levels, Name, Tally, grouped
from headgate.surfaces.exposition_text import COUNTER, GAUGE, HISTOGRAM, Family, labelled

_Counters = Mapping[str, list[tuple[Name, list[int]]]]
_US = 1_000_000
_MS = 1000
_BREAKER_CALLS = ("ok", "fault", "slow", "ignored", "refused", "late", "probe_lost")
_ALWAYS = ("ok", "fault")
_REPEATS = {
    "retry": ("headgate_retries", "Calls tried again at the same target, by failure.", "reason"),
    "fallback": ("headgate_fallbacks", "Calls that went on to another target.", "reason"),
    "hedge": ("headgate_hedges", "Second attempts, by whether they were sooner.", "outcome"),
    "denied": ("headgate_retry_denied", "Failures that were not tried again, by reason.", "reason"),
}
_LEVELS = {
    "flights": ("headgate_flights", "Calls under way that others may join.", ("model",)),
    "in_flight": ("headgate_in_flight", "Attempts under way.", ("provider", "model")),
    "limit": ("headgate_limit", "Attempts that may be under way.", ("provider", "model")),
}


def target_families(totals: Tally, levels: Levels) -> Iterator[Family]:
    """Everything that goes by target."""
    counters, gauges = grouped(totals), grouped(levels)
    yield from _attempts(counters)
    yield from _breakers(counters, gauges.get(BREAKER_STATE, []))
    for what, (name, text, labels) in _LEVELS.items():
        family = Family(name, text, GAUGE)
        for values, value in gauges.get(what, []):
            family.add(_target(dict(zip(labels, values, strict=True))), value)
        yield family
    for what, (name, text, label) in _REPEATS.items():
        family = Family(name, text, COUNTER)
        for values, counts in counters.get(what, []):
            family.add(labelled(**{label: values[0]}), counts[0])
        yield family


def _target(labels: Mapping[str, str]) -> str:
    """A provider and a model of its are one label."""
    if "provider" in labels:
        return labelled(target=f"{labels['provider']}/{labels['model']}")
    return labelled(**labels)


def _attempts(counters: _Counters) -> Iterator[Family]:
    attempts = Family("headgate_attempts", "Attempts at a target by how they ended.", COUNTER)
    for (provider, model, reason), counts in counters.get("attempt", []):
        outcome = OUTCOMES[reason].kind if reason in OUTCOMES else FAULT
        labels = labelled(target=f"{provider}/{model}", outcome=outcome, reason=reason)
        attempts.add(labels, counts[0])
    took = Family("headgate_attempt_duration_seconds", "How long attempts took.", HISTOGRAM)
    for (provider, model, outcome), counts in counters.get("attempt_time", []):
        labels = labelled(target=f"{provider}/{model}", outcome=outcome)
        took.add_buckets(labels, counts[:BUCKETS], counts[BUCKETS] / _US)
    yield from (attempts, took)


def _breakers(counters: _Counters, states: list[tuple[Name, float]]) -> Iterator[Family]:
    state = Family("headgate_breaker_state", "0 closed, 1 open, 2 half-open, 3 by hand.", GAUGE)
    for place, value in states:
        state.add(_gate(*place), int(value))
    calls = Family("headgate_breaker_calls", "Attempts as a breaker counted them.", COUNTER)
    for place, counts in counters.get("breaker_calls", []):
        labels = _gate(*place)
        for kind, count in zip(_BREAKER_CALLS, counts, strict=True):
            if count or kind in _ALWAYS:
                calls.add(f'{labels},kind="{kind}"', count)
    opened = Family("headgate_breaker_open_seconds", "Time a breaker has been open.", COUNTER)
    for place, counts in counters.get("breaker_open", []):
        opened.add(_gate(*place), counts[0] / _MS)
    changes = Family("headgate_breaker_transitions", "Changes of a breaker's state.", COUNTER)
    for (gate, target, *change), counts in counters.get("transition", []):
        provider, _, model = target.partition("/")
        what = labelled(**dict(zip(("from", "to", "reason"), change, strict=True)))
        changes.add(f"{_gate(gate, provider, model)},{what}", counts[0])
    yield from (state, calls, opened, changes)


def _gate(gate: str, provider: str, model: str) -> str:
    return labelled(provider=provider, model=model, gate=gate)
