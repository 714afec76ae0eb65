"""The circuit breakers of an N3 app, one for each model."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from headgate.circuitbreaker import CircuitBreaker
from headgate.clock import Clock

MODELS_MAX = 1000
"""The breaker that was made first goes where there are more."""


class CircuitState:
    """The states that `CircuitBreaker.get_state` tells, as N3 names them."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breakers:
    """Made when they are first asked for. `settings` is the section `circuit_breaker` of an app;
    with `enabled: False` they admit everything. Safe from any thread."""

    def __init__(self, settings: Mapping[str, Any], clock: Clock) -> None:
        self._numbers = {name: value for name, value in settings.items() if name != "enabled"}
        self._is_on = settings.get("enabled", True)
        self._clock = clock
        self._lock = threading.Lock()
        self._breakers: dict[str, CircuitBreaker] = {}

    def of(self, model: str) -> CircuitBreaker:
        """The breaker of `model`, always the same."""
        with self._lock:
            breaker = self._breakers.get(model)
            if breaker is None:
                while len(self._breakers) >= MODELS_MAX:
                    del self._breakers[next(iter(self._breakers))]
                breaker = self._breakers[model] = self._made(model)
        return breaker

    def numbers(self, model: str | None = None) -> dict[str, dict[str, Any]]:
        """What `get_stats` tells of one model, or of all that were asked for, by model."""
        if model:
            return {model: self.of(model).get_stats()}
        with self._lock:
            known = dict(self._breakers)
        return {name: breaker.get_stats() for name, breaker in known.items()}

    def _made(self, model: str) -> CircuitBreaker:
        breaker = CircuitBreaker(name=model, judge=_judged, clock=self._clock, **self._numbers)
        if not self._is_on:
            breaker.force("disabled")
        return breaker


def is_error(result: Any) -> bool:
    """Whether N3 would call this an error: it returns some instead of raising them."""
    return isinstance(result, Mapping) and result.get("status") == "error"


def _judged(result: Any, error: Exception | None) -> str | None:
    return "fault" if error is None and is_error(result) else None
