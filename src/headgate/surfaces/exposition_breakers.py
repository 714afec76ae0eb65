"""The part of /metrics about targets: breakers, attempts, repeats. Pure.

Labels come from the configuration, from addresses that an SDK of this process calls, and from model
names that were asked for; there are at most `ROWS_MAX` of each (guard_numbers.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import Metric

_STATES = {"closed": 0, "open": 1, "half_open": 2}
_BY_HAND = 3
_PLAIN = {
    "retries": ("headgate_retries", "Calls tried again at the same target, by failure.", "reason"),
    "fallbacks": ("headgate_fallbacks", "Calls that went on to another target.", "reason"),
    "hedges": ("headgate_hedges", "Second attempts, by whether they were sooner.", "outcome"),
    "denied": ("headgate_retry_denied", "Failures that were not tried again, by reason.", "reason"),
}


def breaker_families(numbers: Mapping[str, Any]) -> Iterator[Metric]:
    """The families for what `Runtime.stats()["breakers"]` says."""
    state = Metric("headgate_breaker_state", "0 closed, 1 open, 2 half-open, 3 by hand.", "gauge")
    calls = Metric("headgate_breaker_calls", "Attempts as a breaker counted them.", "counter")
    opened = Metric("headgate_breaker_open_seconds", "Time a breaker has been open.", "counter")
    for gate, table in (("endpoint", "endpoints"), ("deployment", "deployments")):
        for name, row in numbers[table].items():
            provider, _, model = name.partition("/")
            labels = {"provider": provider, "model": model, "gate": gate}
            state.add_sample(state.name, labels, _STATES.get(row["state"], _BY_HAND))
            opened.add_sample(f"{opened.name}_total", labels, row["open_s"])
            for kind, count in row["calls"].items():
                calls.add_sample(f"{calls.name}_total", {**labels, "kind": kind}, count)
    yield from (state, calls, opened)
    yield _transitions(numbers["transitions"])
    attempts = Metric("headgate_attempts", "Attempts at a provider by how they ended.", "counter")
    for provider, outcomes in numbers["attempts"].items():
        for reason, count in outcomes.items():
            labels = {"provider": provider, "outcome": reason}
            attempts.add_sample(f"{attempts.name}_total", labels, count)
    yield attempts
    for key, (name, text, label) in _PLAIN.items():
        family = Metric(name, text, "counter")
        for reason, count in numbers[key].items():
            family.add_sample(f"{name}_total", {label: reason}, count)
        yield family


def _transitions(rows: list[dict[str, Any]]) -> Metric:
    family = Metric("headgate_breaker_transitions", "Changes of a breaker's state.", "counter")
    for row in rows:
        labels = {name: value for name, value in row.items() if name != "count"}
        family.add_sample(f"{family.name}_total", labels, row["count"])
    return family
