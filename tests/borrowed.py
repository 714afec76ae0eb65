"""Point 5 of the oracle, inside a gateway: whatever a call borrows comes back. Permits of breakers,
places and reservations of limits, flights that others could join, the place behind the door.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from types import CellType, FunctionType, MethodType
from typing import Any

from gates import Gate
from oracle import until

from headgate.core.rate import Rate
from headgate.joining.flight import Flight
from headgate.lanes import Lane
from headgate.runtime import Runtime

_OURS = ("headgate.layers.", "headgate.core.registry", "headgate.joining.", "headgate.lanes")


def everything_is_back(gate: Gate) -> None:
    """Point 5. Whoever reads an answer may have it a moment before its call has ended."""
    with suppress(AssertionError):
        until(lambda: not lent(gate), "it is given back")
    assert not lent(gate), f"not given back: {lent(gate)}"


def lent(gate: Gate) -> dict[str, int]:
    """What has not come back, by its name."""
    guards = gate.runtime.guards
    breakers = [
        *dict(guards.endpoints.items()).values(),
        *dict(guards.deployments.items()).values(),
    ]
    held = list(holders(gate.runtime))
    lanes = [one for one in held if isinstance(one, Lane)]
    rates = [one for one in held if isinstance(one, Rate)] + [lane.rate for lane in lanes]
    counts = {
        "calls behind the door": gate.door.inside,
        "permits": guards.under_way,
        "probes": sum(breaker.probes_in_flight for breaker in breakers),
        "places": sum(lane.concurrency.in_flight for lane in lanes),
        "waiting for a place": sum(lane.waiting for lane in lanes),
        "reservations": sum(rate.pending for rate in rates),
        "flights": sum(isinstance(one, Flight) for one in held),
    }
    return {name: count for name, count in counts.items() if count}


def holders(runtime: Runtime) -> Iterator[Lane | Rate | Flight]:
    """Every one that the layers of the stack hold: they stand in closures and in attributes."""
    waiting: list[Any] = [runtime._stack]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Lane | Rate | Flight):
            yield one
        else:
            waiting += _inside(one)


def _inside(one: Any) -> list[Any]:
    if isinstance(one, FunctionType):
        return list(one.__closure__ or ())
    if isinstance(one, CellType):
        return [one.cell_contents]
    if isinstance(one, MethodType):
        return [one.__self__]
    if isinstance(one, dict):
        return list(one.values())
    if type(one).__module__.startswith(_OURS):
        return list(getattr(one, "__dict__", {}).values())
    return []
