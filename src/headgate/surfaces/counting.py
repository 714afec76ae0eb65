"""What a runtime has counted, read for /metrics. Changes nothing. May wait for the disk of
the cache and for the table of prices: not for a thread that answers calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import astuple

from headgate.config import Config
from headgate.core.breaker import Breaker
from headgate.core.tally import (
    BATCH,
    BREAKER_STATE,
    BY_HAND,
    CLOSED,
    HALF_OPEN,
    OPEN,
    OTHER,
    SHARED_STORE,
    SINCE,
    Levels,
    Name,
)
from headgate.guards import Guards
from headgate.metrics import Metrics
from headgate.runtime import Runtime

_STATES = {"closed": CLOSED, "open": OPEN, "half_open": HALF_OPEN}
_MS = 1000
Named = tuple[Name, Sequence[int]]


class Labels:
    """Which names are shown: models with a row in the numbers, and targets that the configuration
    names or whose model has such a row. Clients invent names; these stand under `other`."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        models = config.models.values()
        routes = [(*one.targets, *one.fallbacks, *one.context_fallbacks, *one.content_fallbacks)
                  for one in models]  # fmt: skip
        self._targets = {name.partition("=")[0] for names in routes for name in names}
        targets = {target.partition("/")[2] for target in self._targets}
        self.listed = frozenset({*config.models, *targets})
        """Models that the configuration names."""
        self._metrics = metrics

    def knows(self, provider: str, model: str) -> bool:
        """Whether a target is shown by its name."""
        is_listed = f"{provider}/{model}" in self._targets
        return is_listed or self._metrics.known(model) == model

    def shown(self, name: Name) -> Name:
        """`name` with what is not shown replaced."""
        family, *labels = name
        if family == "attempt" and not self.knows(labels[0], labels[1]):
            return (family, labels[0], OTHER, labels[2])
        if family == "attempt_time" and f"{labels[0]}/{labels[1]}" not in self._targets:
            # A histogram is thirty series: only for targets that somebody has written down.
            return (family, labels[0], OTHER, labels[2])
        if family == BATCH:
            return (family, self._metrics.known(labels[0]))
        if family == "ledger":
            return (family, self._metrics.known(labels[0]), labels[1])
        return name


def reading(runtime: Runtime, labels: Labels) -> dict[Name, Sequence[int]]:
    """Every counter."""
    return dict(
        (
            *_models(runtime),
            *_money(runtime),
            *targets_of(runtime.guards, runtime.clock.monotonic(), labels),
            *_stores(runtime),
        )
    )


def levels(runtime: Runtime, labels: Labels, since_s: float) -> Levels:
    """Every gauge; `since_s` is when its configuration was loaded,
    seconds since 1970."""
    found: Levels = {(SINCE,): since_s}
    for number, tier in enumerate(runtime.tiers.stats()):
        # Memory is each process's own, what is below it is everybody's.
        family = SHARED_STORE if number else "store"
        found[f"{family}_entries", tier.name] = tier.entries
        found[f"{family}_bytes", tier.name] = tier.size_bytes
    for placed in runtime.layers:
        for name, numbers in ({} if placed.busy is None else placed.busy()).items():
            shown = _place(name, runtime, labels)
            for what, number in zip(_BUSY[placed.name], numbers, strict=True):
                found[what, *shown] = found.get((what, *shown), 0) + number
    return found | states_of(runtime.guards, labels)


_BUSY = {"limit": ("in_flight", "limit"), "coalesce": ("flights",)}


def _place(name: Name, runtime: Runtime, labels: Labels) -> Name:
    if len(name) == 1:
        return (runtime.metrics.known(name[0]),)
    return name if labels.knows(*name) else (name[0], OTHER)


def _models(runtime: Runtime) -> Iterator[Named]:
    for row in runtime.metrics.series():
        yield ("model", row.model), row.vector()
        for kind, count in row.errors.items():
            yield ("error", row.model, kind), (count,)
        for reason, count in row.refusals.items():
            yield ("refusal", row.model, reason), (count,)
    for model, batches in list(runtime.metrics.batches.models.items()):
        yield (BATCH, model), batches.vector()
    yield ("overflow", "model"), (runtime.metrics.overflows,)


def _money(runtime: Runtime) -> Iterator[Named]:
    for model, sums in runtime.ledger.sums().items():
        for kind, one in sums.items():
            yield ("ledger", model, kind), astuple(one)


def states_of(guards: Guards, labels: Labels) -> Levels:
    """The state of every breaker that is shown."""
    return {
        (BREAKER_STATE, gate, provider, model): _STATES.get(breaker.state, BY_HAND)
        for gate, provider, model, breaker in _breakers(guards, labels)
    }


def targets_of(guards: Guards, now_s: float, labels: Labels) -> Iterator[Named]:
    """What was counted of attempts, repeats and breakers; `now_s` is monotonic seconds."""
    for name, count in list(guards.attempts.items()):
        yield ("attempt", *name), (count,)
    for name, durations in list(guards.durations.items()):
        yield ("attempt_time", *name), list(durations)
    for family, reasons in (("retry", guards.retries), ("fallback", guards.fallbacks),
                            ("hedge", guards.hedges), ("denied", guards.denials)):  # fmt: skip
        for reason, count in list(reasons.items()):
            yield (family, reason), (count,)
    for (gate, target, *change), count in list(guards.transitions.items()):
        provider, _, model = target.partition("/")
        if _is_shown(gate, provider, model, labels):
            yield ("transition", gate, target, *change), (count,)
    for gate, provider, model, breaker in _breakers(guards, labels):
        counts = breaker.counts
        name = (gate, provider, model)
        numbers = (counts.ok, counts.faults, counts.slow, counts.ignored, counts.refused,
                   counts.late, counts.probes_lost)  # fmt: skip
        yield ("breaker_calls", *name), numbers
        yield ("breaker_open", *name), (round(breaker.open_s(now_s) * _MS),)


def begun_anew(before: Guards, after: Guards, labels: Labels) -> list[Name]:
    """What is counted from 0 again since `after` took over from `before`: its other breakers."""
    kept = {breaker for *_, breaker in _breakers(after, labels)}
    return [
        (family, gate, provider, model)
        for gate, provider, model, breaker in _breakers(before, labels)
        if breaker not in kept
        for family in ("breaker_calls", "breaker_open")
    ]


def _breakers(guards: Guards, labels: Labels) -> Iterator[tuple[str, str, str, Breaker]]:
    for provider, breaker in list(guards.endpoints.items()):
        if _is_shown("endpoint", provider, "", labels):
            yield "endpoint", provider, "", breaker
    for (provider, model), breaker in list(guards.deployments.items()):
        if _is_shown("deployment", provider, model, labels):
            yield "deployment", provider, model, breaker


def _is_shown(gate: str, provider: str, model: str, labels: Labels) -> bool:
    return gate == "endpoint" or labels.knows(provider, model)


def _stores(runtime: Runtime) -> Iterator[Named]:
    for reason, count in runtime.fill.skipped().items():
        yield ("skipped", reason), (count,)
    for tier in runtime.tiers.stats():
        numbers = (tier.evictions, tier.expirations, tier.integrity_failures, tier.errors)
        yield ("store", tier.name), numbers
