"""Makes deploy/grafana/headgate.json: `python scripts/make_grafana_dashboard.py OUT`.

A dashboard of thousands of lines cannot be reviewed; this list of panels can. The same list gives
the same file (tests/e2e/test_prometheus.py).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

UID = "headgate-overview"
WIDTH = 24
PANEL_WIDTH, PANEL_HEIGHT = 8, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What every expression of ours is narrowed down to by the menus on top.
MODEL = 'model=~"$model",instance=~"$instance"'
HERE = 'instance=~"$instance"'


class Panel(NamedTuple):
    """A title, its unit as Grafana spells it, and (expression, legend) for each of its lines."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]


class Row(NamedTuple):
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


def rate(name: str, labels: str = MODEL) -> str:
    """The rate of a counter over what Grafana takes for a fitting time."""
    return f"rate({name}{{{labels}}}[$__rate_interval])"


def quantile(share: float, name: str, by: str = "le", labels: str = MODEL) -> str:
    """A quantile from buckets."""
    return f"histogram_quantile({share}, sum by ({by}) ({rate(name, labels)}))"


QUESTIONS = Row(
    "The four questions",
    (
        Panel(
            "Cache hit rate",
            "percentunit",
            (
                (
                    "rate(llm_cache_hits[5m]) / "
                    "(rate(llm_cache_hits[5m]) + rate(llm_cache_misses[5m]))",
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "P95 latency by model",
            "ms",
            (("histogram_quantile(0.95, rate(llm_latency_ms[5m]))", "{{model}}"),),
        ),
        Panel(
            "Error rate",
            "percentunit",
            (("rate(llm_errors[5m]) / rate(llm_calls[5m])", "{{model}}"),),
        ),
        Panel(
            "Token usage (per second)",
            "short",
            (("sum(rate(llm_tokens[1h])) by (model)", "{{model}}"),),
        ),
    ),
)
TRAFFIC = Row(
    "Traffic and hits",
    (
        Panel(
            "Calls by how they ended",
            "reqps",
            ((f"sum by (result) ({rate('headgate_calls_total')})", "{{result}}"),),
        ),
        Panel(
            "What the cache did",
            "reqps",
            ((f"sum by (result) ({rate('headgate_cache_lookups_total')})", "{{result}}"),),
        ),
        Panel(
            "Hits by layer, and joined calls",
            "reqps",
            (
                (f"sum by (layer) ({rate('headgate_cache_hits_total')})", "{{layer}}"),
                (f"sum({rate('headgate_followers_total')})", "joined"),
            ),
        ),
        Panel(
            "Not stored, by reason",
            "reqps",
            (
                (
                    f"sum by (reason) ({rate('headgate_cache_store_skipped_total', HERE)})",
                    "{{reason}}",
                ),
            ),
        ),
        Panel("Calls by model", "reqps", ((f"sum by (model) ({rate('llm_calls')})", "{{model}}"),)),
    ),
)
MONEY = Row(
    "Money",
    (
        Panel(
            "Billed, dollars an hour",
            "currencyUSD",
            ((f"sum by (kind) ({rate('headgate_cost_dollars_total')}) * 3600", "{{kind}}"),),
        ),
        Panel(
            "Avoided, dollars an hour",
            "currencyUSD",
            ((f"sum by (kind) ({rate('headgate_saved_dollars_total')}) * 3600", "{{kind}}"),),
        ),
        Panel(
            "Tokens billed and saved",
            "short",
            (
                (f"sum by (type) ({rate('headgate_tokens_total')})", "billed {{type}}"),
                (f"sum by (type) ({rate('headgate_tokens_saved_total')})", "saved {{type}}"),
            ),
        ),
        Panel(
            "Without a price, or estimated",
            "reqps",
            (
                (f"sum({rate('headgate_unpriced_calls_total')})", "no price"),
                (f"sum({rate('headgate_estimated_usage_total')})", "estimated"),
            ),
        ),
    ),
)
LATENCY = Row(
    "Latency",
    (
        Panel(
            "All calls",
            "ms",
            tuple(
                (quantile(share, "llm_latency_ms"), f"p{round(share * 100)}")
                for share in (0.5, 0.95, 0.99)
            ),
        ),
        Panel(
            "First content of streams",
            "s",
            tuple(
                (
                    quantile(share, "headgate_time_to_first_chunk_seconds_bucket"),
                    f"p{round(share * 100)}",
                )
                for share in (0.5, 0.95)
            ),
        ),
        Panel(
            "Attempts, p95 by target",
            "s",
            (
                (
                    quantile(0.95, "headgate_attempt_duration_seconds_bucket", "le, target", HERE),
                    "{{target}}",
                ),
            ),
        ),
    ),
)
FAILURES = Row(
    "Errors, breakers, limits",
    (
        Panel(
            "Errors by type",
            "reqps",
            ((f"sum by (type) ({rate('headgate_errors_total')})", "{{type}}"),),
        ),
        Panel(
            "Refusals by reason",
            "reqps",
            ((f"sum by (reason) ({rate('headgate_refusals_total')})", "{{reason}}"),),
        ),
        Panel(
            "Attempts by outcome",
            "reqps",
            (
                (
                    f"sum by (target, outcome) ({rate('headgate_attempts_total', HERE)})",
                    "{{target}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Breakers (1 open, 2 half-open, 3 by hand)",
            "short",
            ((f"headgate_breaker_state{{{HERE}}}", "{{provider}} {{model}}"),),
        ),
        Panel(
            "Tried again, elsewhere, twice, or not",
            "reqps",
            (
                (f"sum({rate('headgate_retries_total', HERE)}) or vector(0)", "again"),
                (f"sum({rate('headgate_fallbacks_total', HERE)}) or vector(0)", "elsewhere"),
                (f"sum({rate('headgate_hedges_total', HERE)}) or vector(0)", "twice"),
                (f"sum({rate('headgate_retry_denied_total', HERE)}) or vector(0)", "not"),
            ),
        ),
        Panel(
            "Attempts under way",
            "short",
            ((f"sum by (target) (headgate_in_flight{{{HERE}}})", "{{target}}"),),
        ),
        Panel(
            "Attempts that may be under way",
            "short",
            ((f"sum by (target) (headgate_limit{{{HERE}}})", "{{target}}"),),
        ),
    ),
)
STORES = Row(
    "Stores and workers",
    (
        Panel(
            "Bytes kept",
            "bytes",
            ((f"sum by (store) (headgate_cache_bytes{{{HERE}}})", "{{store}}"),),
        ),
        Panel(
            "Entries kept",
            "short",
            ((f"sum by (store) (headgate_cache_entries{{{HERE}}})", "{{store}}"),),
        ),
        Panel(
            "Removed, and store errors",
            "short",
            (
                (
                    f"sum by (store, reason) ({rate('headgate_cache_evictions_total', HERE)})",
                    "{{store}} {{reason}}",
                ),
                (
                    f"sum by (store) ({rate('headgate_store_errors_total', HERE)})",
                    "{{store}} errors",
                ),
            ),
        ),
        Panel(
            "Since the slowest worker added its numbers",
            "s",
            ((f"max(headgate_metrics_flush_age_seconds{{{HERE}}}) or vector(0)", "worker"),),
        ),
        Panel(
            "Configuration in use for",
            "s",
            (
                (
                    f"time() - headgate_config_loaded_timestamp_seconds{{{HERE}}}",
                    "{{instance}}",
                ),
            ),
        ),
    ),
)
ROWS = (QUESTIONS, TRAFFIC, MONEY, LATENCY, FAILURES, STORES)


def dashboard() -> dict[str, Any]:
    """The whole document, as Grafana imports it."""
    return {
        "__inputs": [{"name": "DS_PROMETHEUS", "label": "Prometheus", "description": "",
                      "type": "datasource", "pluginId": "prometheus",
                      "pluginName": "Prometheus"}],
        "__requires": [{"type": "datasource", "id": "prometheus", "name": "Prometheus",
                        "version": "1.0.0"}],
        "uid": UID,
        "title": "headgate",
        "tags": ["headgate", "llm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": menus()},
        "panels": panels(),
    }  # fmt: skip


def menus() -> list[dict[str, Any]]:
    """Which Prometheus, which models, which gateways."""
    chosen = {"type": "query", "datasource": SOURCE, "refresh": 2, "includeAll": True,
              "multi": True, "allValue": ".*", "sort": 1}  # fmt: skip
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
         "current": {"text": "${DS_PROMETHEUS}", "value": "${DS_PROMETHEUS}"}},
        {"name": "model", "label": "Model", "query": "label_values(llm_calls, model)", **chosen},
        {"name": "instance", "label": "Gateway", "query": "label_values(llm_calls, instance)",
         **chosen},
    ]  # fmt: skip


def panels() -> list[dict[str, Any]]:
    """All panels, each row under its title, three or four beside each other."""
    shown: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        shown.append({"id": len(shown) + 1, "type": "row", "title": row.title, "collapsed": False,
                      "panels": [], "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}})  # fmt: skip
        top += 1
        width = WIDTH // 4 if len(row.panels) == 4 else PANEL_WIDTH
        beside = WIDTH // width
        for number, panel in enumerate(row.panels):
            place = {"x": number % beside * width, "y": top + number // beside * PANEL_HEIGHT,
                     "w": width, "h": PANEL_HEIGHT}  # fmt: skip
            shown.append(_panel(panel, len(shown) + 1, place))
        top += -(-len(row.panels) // beside) * PANEL_HEIGHT
    return shown


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"},
                    "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expression,
             "legendFormat": legend, "range": True}
            for at, (expression, legend) in enumerate(panel.lines)
        ],
    }  # fmt: skip


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
