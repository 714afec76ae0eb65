"""The seed document's four queries, the shipped dashboard and the shipped alerts, asked of a real
Prometheus that has scraped a load with known answers.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from observatory import (
    DASHBOARD,
    ERROR_RATE,
    HIT_RATE,
    LATENCY,
    MISSES,
    ROOT,
    TOKENS,
    Observed,
    delays_of,
    expressions,
    extrapolated,
    filled,
    increase,
    near,
    observed,
    panels,
)

HOUR_S = 3600
ALERTS = ROOT / "deploy" / "prometheus"


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    with observed(tmp_path_factory.mktemp("prometheus")) as done:
        yield done


def promtool(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["promtool", *words], input=given, capture_output=True, cwd=ALERTS)


def test_the_hit_rate_is_what_the_clients_saw(seen: Observed) -> None:
    found, load = seen.prometheus.by_model(HIT_RATE, seen.at_s), seen.load
    assert set(found) == {"alpha", "beta", "gamma"}
    # The first sample has the call that warmed up; what is asked for is the increase since.
    wanted = load.hits["alpha"] / (load.calls["alpha"] - 1)
    assert near(found["alpha"], wanted, 0.01)
    assert found["beta"] == 0.0


def test_the_error_rate_is_what_the_clients_saw(seen: Observed) -> None:
    found, load = seen.prometheus.by_model(ERROR_RATE, seen.at_s), seen.load
    assert set(found) == {"alpha", "beta", "gamma"}
    assert found["alpha"] == 0.0, "0, not nothing"
    for model in ("beta", "gamma"):
        # `rate` takes a counter that begins at 1 for one that began a little earlier than one that
        # begins at 0: with few calls that is more than 1 %.
        calls = load.calls[model] - 1
        assert near(found[model], load.errors[model] / calls, 0.01 + 1 / calls)
    assert near(found["beta"], load.errors["beta"] / (load.calls["beta"] - 1), 0.01)


def test_the_95th_percentile_is_that_of_the_gateway_and_of_the_load(seen: Observed) -> None:
    found = seen.prometheus.by_model(LATENCY, seen.at_s)
    numbers = seen.gateway.get("/api/metrics/llm").json
    assert numbers["workers"] == 2
    for model, count in MISSES.items():
        told_ms = numbers["metrics"]["by_model"][model]["latency_p95"]
        assert near(found[model], told_ms, 0.2)
        # The slowest twentieth of all calls, which the hits are a part of, took at least this.
        slower = math.ceil(0.05 * seen.load.calls[model])
        assert told_ms > delays_of(model, count)[count - slower - 1] * 1000 * 0.97


def test_tokens_are_those_that_were_billed(seen: Observed) -> None:
    found = seen.prometheus.by_model(TOKENS, seen.at_s)
    assert set(found) == {"alpha", "beta", "gamma"}
    wanted = dict.fromkeys(found, 0.0)
    billed = dict.fromkeys(found, 0.0)
    for kind in ("input", "output"):
        selector = f'llm_tokens{{type="{kind}"}}'
        for model, points in seen.prometheus.points(selector, seen.at_s, HOUR_S).items():
            wanted[model] += extrapolated(points, seen.at_s, HOUR_S)
            billed[model] += increase(points) + points[0].value
    assert billed == {model: float(count) for model, count in seen.load.tokens.items()}
    for model, rate in found.items():
        assert near(rate, wanted[model], 0.01)


def test_calls_hits_and_errors_are_exactly_those_of_the_clients(seen: Observed) -> None:
    for name, counts in (("llm_calls", seen.load.calls), ("llm_cache_hits", seen.load.hits),
                         ("llm_errors", seen.load.errors)):  # fmt: skip
        found = seen.prometheus.by_model(name, seen.at_s)
        assert found == {model: float(counts[model]) for model in found}
    summed = seen.prometheus.by_model("sum by (model) (headgate_calls_total)", seen.at_s)
    assert summed == seen.prometheus.by_model("llm_calls", seen.at_s)


def test_the_queries_of_the_seed_are_four_panels() -> None:
    first = [panel["targets"][0]["expr"] for panel in panels()[:4]]
    assert first == [HIT_RATE, LATENCY, ERROR_RATE, TOKENS]


@pytest.mark.parametrize("expression", expressions())
def test_no_expression_of_the_dashboard_is_empty(seen: Observed, expression: str) -> None:
    found = seen.prometheus.query(filled(expression), seen.at_s)
    assert found
    assert any(one["value"][1] != "NaN" for one in found)


def test_the_dashboard_is_what_its_script_makes(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "make_grafana_dashboard.py"
    subprocess.run([sys.executable, script, tmp_path / "made.json"], check=True)
    assert (tmp_path / "made.json").read_text("utf-8") == DASHBOARD.read_text("utf-8")


def test_the_dashboard_can_be_imported_anywhere() -> None:
    shown = json.loads(DASHBOARD.read_text("utf-8"))
    assert [one["name"] for one in shown["__inputs"]] == ["DS_PROMETHEUS"]
    assert [one["name"] for one in shown["templating"]["list"]] == [
        "datasource", "model", "instance",
    ]  # fmt: skip
    assert (shown["uid"], shown["schemaVersion"]) == ("headgate-overview", 39)
    sources = [panel["datasource"]["uid"] for panel in panels()]
    assert set(sources) == {"${datasource}"}
    numbers = [panel["id"] for panel in shown["panels"]]
    assert len(set(numbers)) == len(numbers)
    for expression in expressions()[4:]:
        assert "rate(" not in expression or "$__rate_interval" in expression


def test_promtool_has_nothing_but_the_unit_to_remark(seen: Observed) -> None:
    page = seen.gateway.get("/metrics", {"accept": "text/plain"}).body
    checked = promtool("check", "metrics", given=page)
    remarks = (checked.stdout + checked.stderr).decode().strip()
    assert remarks == "llm_latency_ms metric names should not contain abbreviated units"


def test_promtool_accepts_the_alerts_and_their_tests_pass() -> None:
    for words in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml"),
                  ("check", "config", "prometheus.yml")):  # fmt: skip
        checked = promtool(*words)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_has_a_test_and_its_series_exist(seen: Observed) -> None:
    text = (ALERTS / "alerts.yml").read_text("utf-8")
    tests = (ALERTS / "alerts_test.yml").read_text("utf-8")
    names = set(re.findall(r"alert: (\w+)", text))
    assert names == set(re.findall(r"alertname: (\w+)\n\s+exp_alerts", tests))
    for series in set(re.findall(r"\b(?:llm|headgate)_\w+", text)):
        assert seen.prometheus.query(series, seen.at_s), series


def test_prometheus_has_loaded_the_alerts_and_none_fires(seen: Observed) -> None:
    (group,) = seen.prometheus.ask("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    assert not [rule["name"] for rule in group["rules"] if rule["state"] == "firing"]
