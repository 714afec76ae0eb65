"""What a window of time says of the calls in it, from two snapshots of running totals. Pure.

Since the start an error rate says nothing of now: both rates are those of the window between two
looks, and only where enough calls fell into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

ERROR_RATE, HIT_RATE = "error_rate", "hit_rate"


class Thresholds(Struct, frozen=True):
    """When to raise an alarm."""

    error_rate: float = 0.05
    """More errors per call than this."""
    hit_rate: float = 0.30
    """Fewer hits than this, per call that consulted the cache."""
    calls_min: int = 20
    """Fewer calls in a window say nothing."""


class Totals(Struct, frozen=True):
    """Running totals of one process, as `Runtime.stats` has them; they only grow."""

    calls: int = 0
    errors: int = 0
    hits: int = 0
    misses: int = 0
    tokens: int = 0
    billed_usd: float = 0.0
    saved_usd: float = 0.0


class Alert(Struct, frozen=True):
    """One rate on the wrong side of its threshold."""

    name: str
    """`error_rate` or `hit_rate`."""
    value: float
    threshold: float
    text: str


class Report(Struct, frozen=True):
    """One window."""

    window_s: float
    totals: Totals
    """What came in the window."""
    alerts: tuple[Alert, ...] = ()
    resolved: tuple[str, ...] = ()
    """Alerts of the window before that are none any more."""
    is_restarted: bool = False
    """The process was started anew in it: what came before that is not known."""

    @property
    def error_rate(self) -> float | None:
        """Errors per call; None where there were none."""
        totals = self.totals
        return totals.errors / totals.calls if totals.calls else None

    @property
    def hit_rate(self) -> float | None:
        """Hits per call that consulted the cache; None where none did."""
        consulted = self.totals.hits + self.totals.misses
        return self.totals.hits / consulted if consulted else None


def totals_of(stats: Mapping[str, Any]) -> Totals:
    """The totals in what `Runtime.stats` or `/api/metrics/llm` says."""
    metrics, cost = stats["metrics"], stats.get("cost") or {}
    return Totals(
        metrics["total_calls"],
        metrics["total_errors"],
        metrics["cache_hits"],
        metrics["cache_misses"],
        sum(row["tokens"] for row in metrics["by_model"].values()),
        float(cost.get("billed_usd") or 0.0),
        float(cost.get("saved_usd") or 0.0),
    )


def report_of(
    before: Totals,
    now: Totals,
    window_s: float,
    thresholds: Thresholds,
    raised: frozenset[str] = frozenset(),
) -> Report:
    """The window between two snapshots. A total that fell was counted from 0 again: then all of
    `now` is the window's. `raised` are the alerts of the window before.

    A window with too little traffic neither raises an alert nor resolves one.
    """
    counted = [now.calls, now.errors, now.hits, now.misses]
    known = [before.calls, before.errors, before.hits, before.misses]
    is_restarted = any(new < old for new, old in zip(counted, known, strict=True))
    start = Totals() if is_restarted else before
    between = Totals(*(new - old for new, old in zip(astuple(now), astuple(start), strict=True)))
    report = Report(window_s, between, is_restarted=is_restarted)
    alerts = _alerts(report, thresholds)
    names = frozenset(alert.name for alert in alerts)
    judged = _judged(between, thresholds)
    return Report(window_s, between, alerts, tuple(sorted((raised - names) & judged)), is_restarted)


def still_raised(report: Report, raised: frozenset[str]) -> frozenset[str]:
    """The alerts that hold after `report`."""
    return (raised - set(report.resolved)) | {alert.name for alert in report.alerts}


def _judged(totals: Totals, thresholds: Thresholds) -> frozenset[str]:
    """Which rates have enough calls behind them."""
    consulted = totals.hits + totals.misses
    names = [ERROR_RATE] if totals.calls >= max(1, thresholds.calls_min) else []
    names += [HIT_RATE] if consulted >= max(1, thresholds.calls_min) else []
    return frozenset(names)


def _alerts(report: Report, thresholds: Thresholds) -> tuple[Alert, ...]:
    judged, totals = _judged(report.totals, thresholds), report.totals
    errors, hits = report.error_rate or 0.0, report.hit_rate or 0.0
    found = []
    if ERROR_RATE in judged and errors > thresholds.error_rate:
        counts = f"{totals.errors:,} of {totals.calls:,} calls"
        text = f"error rate {errors:.1%} is above {thresholds.error_rate:.0%} ({counts})"
        found.append(Alert(ERROR_RATE, errors, thresholds.error_rate, text))
    if HIT_RATE in judged and hits < thresholds.hit_rate:
        counts = f"{totals.hits:,} of {totals.hits + totals.misses:,} lookups"
        text = f"hit rate {hits:.1%} is below {thresholds.hit_rate:.0%} ({counts})"
        found.append(Alert(HIT_RATE, hits, thresholds.hit_rate, text))
    return tuple(found)


def summary(report: Report) -> str:
    """One line for people."""
    totals, window_s = report.totals, report.window_s
    span = f"{window_s / 60:.0f} min" if window_s >= 120 else f"{window_s:.0f} s"
    parts = [f"{span}: {totals.calls:,} calls", f"errors {_share(report.error_rate)}"]
    parts += [f"hit rate {_share(report.hit_rate)}", f"{totals.tokens:,} tokens"]
    parts.append(f"${totals.billed_usd:,.4f} billed, ${totals.saved_usd:,.4f} saved")
    line = ", ".join(parts)
    return f"{line} (restarted)" if report.is_restarted else line


def _share(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def as_json(report: Report) -> dict[str, Any]:
    """One window as a JSON object; `text` says the same in words."""
    totals = report.totals
    lines = [alert.text for alert in report.alerts]
    lines += [f"resolved: {name.replace('_', ' ')}" for name in report.resolved]
    return {
        "text": "headgate: " + "; ".join([*lines, summary(report)]),
        "window_s": round(report.window_s, 3),
        "calls": totals.calls,
        "errors": totals.errors,
        "hits": totals.hits,
        "misses": totals.misses,
        "tokens": totals.tokens,
        "billed_usd": round(totals.billed_usd, 9),
        "saved_usd": round(totals.saved_usd, 9),
        "error_rate": report.error_rate,
        "hit_rate": report.hit_rate,
        "restarted": report.is_restarted,
        "alerts": [
            {"name": one.name, "value": one.value, "threshold": one.threshold, "text": one.text}
            for one in report.alerts
        ],
        "resolved": list(report.resolved),
    }
