"""Row 32: ten thousand names of models, tenants and errors, each of which could be a row of numbers
for ever. Rows are bounded, /metrics stays small, and no invented name takes the place of a model
that the operator has listed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from lab import KEY, Lab, config_for, fields_for
from prometheus_client.parser import text_string_to_metric_families
from rawclient import CHAT, MESSAGES

from headgate.config import Config, ModelConfig
from headgate.layers.settings import CacheConfig, ModelCacheConfig
from headgate.metrics import ERRORS_MAX, MODELS_MAX, OTHER, Metrics
from headgate.testing import FaultServer, Status

NAMES = 10_000
METRICS_MAX_BYTES = 1_000_000
LISTED = "listed-model"
EXTRA_SERIES = 100
"""Of what does not go by models: stores, reasons."""


def configured(server: FaultServer) -> Config:
    return dataclasses.replace(
        config_for(server),
        cache=CacheConfig(models={"listed-too": ModelCacheConfig()}),
        models={LISTED: ModelConfig(targets=("openai/gpt-x",))},
    )


@pytest.fixture
def lab(open_lab: Callable[..., Lab]) -> Lab:
    return open_lab(configured)


@pytest.fixture
def ask(lab: Lab) -> Iterator[Callable[..., int]]:
    """Asks on one connection that is kept: the status of the answer."""
    connection = HTTPConnection("127.0.0.1", lab.gate.port, timeout=60)

    def ask_one(fields: Any, path: str = CHAT, key: str = KEY) -> int:
        connection.request("POST", path, json.dumps(fields), {"authorization": f"Bearer {key}"})
        reply = connection.getresponse()
        reply.read()
        return reply.status

    yield ask_one
    connection.close()


def series_of(lab: Lab) -> dict[str, set[str]]:
    """Names of models by metric, of a page that is small and that Prometheus can read."""
    page = lab.gate.get("/metrics")
    assert (page.status, len(page.body) < METRICS_MAX_BYTES) == (200, True)
    found: dict[str, set[str]] = {}
    count = 0
    for family in text_string_to_metric_families(page.body.decode()):
        for sample in family.samples:
            count += 1
            found.setdefault(sample.name, set()).add(sample.labels.get("model", ""))
    rows = MODELS_MAX + 3
    per_row = count / len(found["llm_calls"])
    assert count <= rows * per_row + EXTRA_SERIES
    return found


def test_ten_thousand_names_of_models_make_a_hundred_rows(
    lab: Lab, ask: Callable[..., int]
) -> None:
    # One in ten over the wire, where each costs a call; the others where they are counted.
    for number in range(NAMES // 10):
        path = (CHAT, MESSAGES)[number % 2]
        model = f'{number}-"\\\n{{}}é' + "x" * (number % 400)
        assert ask(fields_for(path, model=model), path) == 200
    for number in range(NAMES):
        lab.gate.runtime.metrics.record_call(f"made-up-{number}", 1.0)
    assert ask(fields_for(CHAT, model=LISTED)) == 200
    assert ask(fields_for(CHAT, model="listed-too")) == 200
    models = series_of(lab)["llm_calls"]
    assert MODELS_MAX // 2 < len(models) <= MODELS_MAX + 3
    assert {LISTED, "listed-too", OTHER} <= models
    numbers = lab.gate.stats()["metrics"]
    assert set(numbers["by_model"]) == models
    assert numbers["total_calls"] == NAMES + NAMES // 10 + 2


def test_who_asks_for_a_listed_model_notices_nothing_of_made_up_ones(
    lab: Lab, ask: Callable[..., int]
) -> None:
    with lab.healthy_meanwhile(LISTED):
        for number in range(NAMES // 50):
            ask(fields_for(CHAT, model=f"made-up-{number}"))


def test_names_of_tenants_make_no_rows_and_are_told_to_nobody(
    lab: Lab, ask: Callable[..., int]
) -> None:
    keys = [f"sk-canary-{number}" for number in range(NAMES // 20)]
    for key in keys:
        assert ask(fields_for(CHAT), key=key) == 200
    assert len(lab.server.calls) == len(keys), "none gets the answer of another one"
    lab.credentials.update(keys)
    assert series_of(lab)["llm_calls"] == {"m"}
    page = lab.gate.get("/metrics").body
    assert not [key for key in keys if key.encode() in page]


def test_texts_of_errors_make_no_rows(lab: Lab, ask: Callable[..., int]) -> None:
    statuses = [*range(400, 430), *range(500, 599)]
    for number in range(300):
        status = statuses[number % len(statuses)]
        text = {"error": {"message": f"error {number}", "type": f"t{number}", "code": f"c{number}"}}
        lab.server.script(Status(status, text))
        assert ask(fields_for(CHAT, number)) == status
    errors = lab.gate.stats()["metrics"]["errors"]
    assert 0 < len(errors) <= ERRORS_MAX + 1
    assert not [name for name in errors if "error " in name]
    assert series_of(lab)["llm_errors"] == {OTHER}, "one that never answered may be misspelt"


def test_kinds_of_errors_are_bounded_for_each_model() -> None:
    metrics = Metrics()
    for number in range(NAMES):
        metrics.record_error("m", f"kind-{number}")
    assert len(metrics.snapshot()["errors"]) == ERRORS_MAX + 1
