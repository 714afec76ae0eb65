"""Points 8 and 9 of the oracle: those who ask a healthy provider do not notice the fault of another
one, and those who ask the faulty one find it again soon after it has recovered.

Neither is judged by how fast this machine is. Point 8 is an order of events: so many answers of the
healthy provider come while the fault goes on. How long they took is compared with how long they
took before it, by medians, and what is below `FLOOR_S` is never too long: the pauses, limits and
queues of the faulty side, which must not be shared, are longer. Point 9 is told by a clock that
only the test moves.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from gates import Gate, Got
from oracle import until

from headgate.config import Config, ModelConfig, ProviderConfig
from headgate.testing import FakeClock, FaultServer
from headgate.types import Secret

BESIDE = "beside"
"""The healthy provider, and its model."""
CALLS = 20
FLOOR_S = 0.25
GROWTH = 2
STEP_S = 0.5
"""How often callers of a provider that was down ask again, in seconds of the test's clock."""


def with_neighbour(config: Config, server: FaultServer) -> Config:
    """The configuration with one provider more, which has a key and a model of its own."""
    beside = ProviderConfig(base_url=server.base_url, api_key=Secret("sk-beside"))
    usual = ModelConfig(targets=tuple(f"{name}/m" for name in config.providers))
    listed = config.models or {"m": usual}
    models = {**listed, BESIDE: ModelConfig(targets=(f"{BESIDE}/{BESIDE}",))}
    return replace(config, providers={**config.providers, BESIDE: beside}, models=models)


class Asked(NamedTuple):
    """One question to the healthy provider."""

    status: int
    took_s: float


class Neighbour:
    """Somebody who asks a healthy model, always something new, and keeps nothing."""

    def __init__(self, gate: Gate, model: str) -> None:
        self._gate = gate
        self._model = model
        self._number = 0

    def ask(self) -> Asked:
        """One answer."""
        started_s = time.monotonic()
        got = self._asked()
        return Asked(got.status, time.monotonic() - started_s)

    def _asked(self) -> Got:
        self._number += 1
        text = f"neighbour {self._number}"
        body = {"model": self._model, "messages": [{"role": "user", "content": text}]}
        lines = {"authorization": "Bearer sk-neighbour", "cache-control": "no-store"}
        return self._gate.post("/v1/chat/completions", body, lines)


@contextmanager
def healthy_meanwhile(gate: Gate, model: str) -> Iterator[Callable[[], None]]:
    """Point 8: asks `model` while the block runs. The value waits for enough answers from now on:
    call it at the height of the fault. It is called at the end of the block in any case."""
    neighbour = Neighbour(gate, model)
    before = [neighbour.ask() for _ in range(CALLS)]
    meanwhile: list[Asked] = []
    is_over = threading.Event()

    def ask_on() -> None:
        while not is_over.is_set():
            meanwhile.append(neighbour.ask())

    def enough() -> None:
        wanted = len(meanwhile) + CALLS
        until(lambda: len(meanwhile) >= wanted, "a healthy provider answers during the fault")

    asking = threading.Thread(target=ask_on)
    asking.start()
    try:
        yield enough
        if len(meanwhile) < CALLS:
            enough()
    finally:
        is_over.set()
        asking.join()
    undisturbed(before, meanwhile)


def undisturbed(before: list[Asked], meanwhile: list[Asked]) -> None:
    """Whether those who asked during the fault fared as those who asked before it."""
    statuses = {asked.status for asked in (*before, *meanwhile)}
    assert statuses == {200}, f"a healthy provider's callers got {statuses}"
    usual_s, now_s = (statistics.median(a.took_s for a in some) for some in (before, meanwhile))
    assert now_s <= max(GROWTH * usual_s, FLOOR_S), f"{now_s:.3f} s instead of {usual_s:.3f} s"


def recovers(
    gate: Gate, clock: FakeClock, ask: Callable[[int], bool], window_s: float
) -> tuple[float, float]:
    """Point 9: the fault is over. Callers ask again and again (`ask` says whether they were
    answered); the first of them is answered within the open time that the guards have told, and
    from one window later on all are. Seconds until the first answer and the open time, both of the
    clock."""
    open_s = wait_s(gate)
    answers: list[tuple[float, bool]] = []
    passed_s = 0.0
    while passed_s <= open_s + 2 * window_s:
        answers.append((passed_s, ask(len(answers))))
        clock.advance(STEP_S)
        passed_s += STEP_S
    first_s = next((at_s for at_s, answered in answers if answered), passed_s)
    last_s = max((at_s for at_s, answered in answers if not answered), default=0.0)
    assert first_s <= open_s + STEP_S, f"first answered after {first_s} s, open for {open_s} s"
    assert last_s <= open_s + window_s, f"refused after {last_s} s, open for {open_s} s"
    return first_s, open_s


def wait_s(gate: Gate) -> float:
    """How long the guards refuse from now on, whichever of them is closed longest."""
    guards, now_s = gate.runtime.guards, gate.runtime.clock.monotonic()
    named = (guards.endpoints, guards.deployments, guards.credentials)
    waits = [guard.retry_after_s(now_s) for some in named for guard in dict(some.items()).values()]
    return max((wait for wait in waits if wait is not None), default=0.0)
