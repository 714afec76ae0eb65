"""What `Runtime.stats` tells of breakers, gates and repeats. Reads state, changes none."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

from headgate.core.breaker import Breaker
from headgate.core.gate import Gate
from headgate.guards import Guards

ROWS_MAX = 100
"""Rows of each table; those that are not closed come first."""


def guard_numbers(guards: Guards, now_s: float) -> dict[str, Any]:
    """Breakers by provider and by deployment, gates by credential (its alias, never itself), and
    how attempts ended. `now_s` is monotonic seconds."""
    credentials = {
        (f"{provider}/{model}", alias): _gate_row(gate, now_s)
        for (provider, model, alias), gate in list(guards.credentials.items())
        if not gate.is_idle(now_s)
    }
    return {
        "endpoints": _rows(dict(guards.endpoints.items()), now_s),
        "deployments": _rows(
            {f"{provider}/{model}": b for (provider, model), b in list(guards.deployments.items())},
            now_s,
        ),
        "credentials": [
            {"target": target, "credential": alias or "its only one", **row}
            for (target, alias), row in itertools.islice(credentials.items(), ROWS_MAX)
        ],
        "transitions": [
            {"gate": gate, "target": name, "from": before, "to": to, "reason": why, "count": count}
            for (gate, name, before, to, why), count in list(guards.transitions.items())[:ROWS_MAX]
        ],
        "attempts": _by_provider(dict(guards.attempts)),
        "retries": dict(guards.retries),
        "fallbacks": dict(guards.fallbacks),
        "hedges": dict(guards.hedges),
        "denied": dict(guards.denials),
    }


def left_alone(guards: Guards) -> str:
    """Which providers are not asked at the moment, for people; "" if all are."""
    now_s = guards.clock.monotonic()
    # One whose time is over keeps its state until somebody asks, who is let through.
    names = [
        name
        for name, breaker in list(guards.endpoints.items())
        if breaker.state in ("open", "forced_open") and breaker.retry_after_s(now_s) != 0
    ]
    return f"not asked at the moment: {', '.join(sorted(names)[:ROWS_MAX])}" if names else ""


def _rows(breakers: dict[str, Breaker], now_s: float) -> dict[str, Any]:
    ordered = sorted(breakers.items(), key=lambda item: item[1].state == "closed")
    return {name: _breaker_row(breaker, now_s) for name, breaker in ordered[:ROWS_MAX]}


def _breaker_row(breaker: Breaker, now_s: float) -> dict[str, Any]:
    counts = breaker.counts
    return {
        "state": breaker.state,
        "retry_after_s": breaker.retry_after_s(now_s),
        "opens_in_row": breaker.opens_in_row,
        "open_s": breaker.open_s(now_s),
        "transitions": counts.transitions,
        "calls": {
            "ok": counts.ok,
            "fault": counts.faults,
            "slow": counts.slow,
            "ignored": counts.ignored,
            "refused": counts.refused,
            "late": counts.late,
            "probe_lost": counts.probes_lost,
        },
    }


def _gate_row(gate: Gate, now_s: float) -> dict[str, Any]:
    return {"closed_by": gate.ladder, "retry_after_s": gate.retry_after_s(now_s), "step": gate.step}


def _by_provider(counts: dict[tuple[str, str, str], int]) -> dict[str, dict[str, int]]:
    table: dict[str, Counter[str]] = {}
    for (provider, _, reason), count in counts.items():
        table.setdefault(provider, Counter())[reason] += count
    return {provider: dict(reasons) for provider, reasons in table.items()}
