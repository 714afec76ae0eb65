"""The numbers of a generated backend: the seed's four queries, the shipped alerts and dashboard and
the seed's monitor, none of them changed, on the app of examples/support-desk."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from desks import EXAMPLE, Service, served
from observatory import (
    ERROR_RATE,
    HIT_RATE,
    LATENCY,
    SCRAPE_S,
    TOKENS,
    Prometheus,
    expressions,
    filled,
    last_s,
    near,
)
from programs import run, running, until
from seedmonitor import monitored

from headgate.generate.reading import read_app
from headgate.testing import Status

FAST, CAREFUL = "gpt-4o-mini", "gpt-4o"
SETTINGS = '[cache]\npersist = true\npersist_path = "answers.db"\n[retry]\nattempts = 1\n'
MESSAGES, FAILURES, CLIENTS = 60, 6, 4
STREAM = {"accept": "text/event-stream"}


class Desk:
    """Asks the backend, and keeps count of what it was told, by model."""

    def __init__(self, service: Service) -> None:
        self.calls: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self._service = service

    def sort(self, message: str) -> None:
        self._count(FAST, self._service.post("/api/prompts/sort", {"message": message}))

    def answer(self, message: str) -> None:
        """The chain: a call of each model."""
        got = self._service.post("/api/chains/answer", {"message": message})
        assert got.status == 200
        for model, step in zip((FAST, CAREFUL), got.json["steps"], strict=True):
            self._note(model, step)

    def stream(self, prompt: str) -> None:
        got = self._service.post("/api/llm/careful", {"prompt": prompt}, STREAM)
        self._note(CAREFUL, json.loads(got.body.decode().rpartition("data: ")[2]))

    def fail(self, prompt: str) -> None:
        """502, or 503 once the breaker has had enough."""
        self._service.server.script(Status(500))
        self._count(CAREFUL, self._service.post("/api/llm/careful", {"prompt": prompt}))
        self._service.server.clear()

    def run(self) -> None:
        """Each message three times, some calls that fail, and one that is refused."""
        with ThreadPoolExecutor(CLIENTS) as clients:
            for _ in range(3):
                list(clients.map(self.sort, [f"message {at}" for at in range(MESSAGES)]))
        for at in range(FAILURES):
            self.stream(f"prompt {at}")
            self.answer(f"message {at}")
            self.fail(f"failing {at}")
        assert self.errors[CAREFUL] == FAILURES
        only = {"cache-control": "only-if-cached"}
        self._count(FAST, self._service.post("/api/llm/fast", {"prompt": "new"}, only))

    def _count(self, model: str, got: Any) -> None:
        if got.status == 200:
            self._note(model, got.json)
        else:
            assert got.status in (502, 503, 504)
            self.calls[model] += 1
            self.errors[model] += 1

    def _note(self, model: str, told: Any) -> None:
        self.calls[model] += 1
        self.hits[model] += told["cached"]
        self.tokens[model] += 0 if told["cached"] else told["usage"]["total_tokens"]


class Watched(NamedTuple):
    """A backend whose load is over, and a Prometheus that has seen it all."""

    service: Service
    desk: Desk
    prometheus: Prometheus
    at_s: float


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    app, _ = read_app(EXAMPLE)
    with served(app, tmp_path_factory.mktemp("backend"), SETTINGS) as service:
        folder = tmp_path_factory.mktemp("prometheus")
        prometheus = Prometheus(folder, f"127.0.0.1:{service.port}")
        try:
            desk = Desk(service)
            desk.answer("warm-up")
            until(lambda: prometheus.by_model("llm_calls") == {FAST: 1.0, CAREFUL: 1.0})
            desk.run()
            calls = {model: float(count) for model, count in desk.calls.items()}
            until(lambda: prometheus.by_model("llm_calls") == calls)
            at_s = time.time()
            until(lambda: last_s(prometheus) > at_s + 3 * SCRAPE_S)
            yield Watched(service, desk, prometheus, last_s(prometheus))
        finally:
            prometheus.close()


def test_what_is_counted_is_what_the_callers_were_told(watched: Watched) -> None:
    desk, asked = watched.desk, watched.prometheus.by_model
    assert (desk.hits[FAST], desk.errors[CAREFUL]) == (2 * MESSAGES + FAILURES, FAILURES)
    for name, counts in (("llm_calls", desk.calls), ("llm_cache_hits", desk.hits),
                         ("llm_errors", desk.errors),
                         ("sum by (model) (llm_tokens)", desk.tokens)):  # fmt: skip
        assert asked(name, watched.at_s) == {
            model: float(counts[model]) for model in (FAST, CAREFUL)
        }


def test_the_four_queries_of_the_seed_answer(watched: Watched) -> None:
    desk = watched.desk
    found = {
        query: watched.prometheus.by_model(query, watched.at_s)
        for query in (HIT_RATE, LATENCY, ERROR_RATE, TOKENS)
    }
    assert [values.keys() for values in found.values()] == [{FAST, CAREFUL}] * 4
    # `rate` adds something before the first sample to counters that did not begin at 0.
    assert near(found[HIT_RATE][FAST], desk.hits[FAST] / (desk.calls[FAST] - 1), 0.05)
    assert near(found[ERROR_RATE][CAREFUL], FAILURES / (desk.calls[CAREFUL] - 1), 0.1)
    assert found[ERROR_RATE][FAST] > 0
    assert all(value > 0 for query in (LATENCY, TOKENS) for value in found[query].values())


@pytest.mark.parametrize("expression", expressions())
def test_every_line_of_the_dashboard_is_there(watched: Watched, expression: str) -> None:
    assert watched.prometheus.query(filled(expression), watched.at_s)


def test_the_alerts_are_loaded_and_none_fires(watched: Watched) -> None:
    def rules() -> list[Any]:
        (group,) = watched.prometheus.ask("rules")["groups"]
        found: list[Any] = group["rules"]
        return found

    until(lambda: {rule["health"] for rule in rules()} == {"ok"})
    assert not [rule["name"] for rule in rules() if rule["state"] == "firing"]


def test_the_monitor_of_the_seed_watches_it(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(watched.service)

    def numbers() -> Any:
        return watched.service.get("/api/metrics/llm").json["metrics"]

    def all_fail(_: int) -> None:
        for at in range(20):
            desk.fail(f"seed {at}")

    before = numbers()
    caplog.set_level(logging.INFO)
    monitored(SimpleNamespace(get_stats=numbers), 1, all_fail)
    warned, told = [record.getMessage() for record in caplog.records]
    errors, calls = before["total_errors"] + 20, before["total_calls"] + 20
    assert warned == f"High LLM error rate: {errors} / {calls}"
    assert told.startswith(f"LLM Stats: {{'total_calls': {calls}, ")


def test_the_command_for_numbers_asks_it(watched: Watched, tmp_path: Path) -> None:
    told = run("stats", "--url", watched.service.url, "--json", cwd=tmp_path)
    assert json.loads(told.stdout)["metrics"]["by_model"].keys() >= {FAST, CAREFUL}


def test_the_monitor_of_headgate_watches_it(watched: Watched, tmp_path: Path) -> None:
    """As it watches a gateway: each window has what was done in it."""
    words = ("monitor", "--url", watched.service.url, "--every", "300ms", "--calls-min", "1")
    with running(*words, "--json", cwd=tmp_path) as monitor:
        desk, found = Desk(watched.service), list[Any]()

        def warned() -> bool:
            desk.fail(f"monitored {len(found)}")
            found[:] = [json.loads(line) for line in monitor.output.splitlines(keepends=True)
                        if line.endswith("\n")]  # fmt: skip
            return any(window["alerts"] for window in found)

        until(warned)
    alerts = [alert["name"] for window in found for alert in window["alerts"]]
    assert alerts[0] == "error_rate"
