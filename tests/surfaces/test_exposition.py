"""/metrics, read back by the reference parsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from headgate.surfaces.exposition import Exposition
from headgate.surfaces.numbers import numbers_of
from headgate.types import Usage

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PARSERS = [("text/plain", prometheus), (OPENMETRICS, openmetrics)]


def exposition(door: Any, naming: str = "compat") -> Exposition:
    return Exposition(numbers_of(door.runtime), naming)


def samples(door: Any, accept: str, parse: Callable[[str], Any]) -> dict[tuple[Any, ...], float]:
    """Every sample by its name and labels."""
    text, _ = exposition(door).render(accept)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(("accept", "parse"), PARSERS)
def test_both_reference_parsers_read_the_numbers_of_each_model(
    door: Any, accept: str, parse: Any
) -> None:
    metrics = door.runtime.metrics
    metrics.record_hit("m", 0.2)
    metrics.record_call("m", 120.0, Usage(10, 5))
    metrics.record_error("m", "timeout")
    found = samples(door, accept, parse)
    model = ("model", "m")
    assert found["llm_calls", model] == 2
    assert found["llm_cache_hits", model] == found["llm_cache_misses", model] == 1
    assert found["llm_errors", model] == 1
    assert found["llm_tokens", model, ("type", "input")] == 10
    assert found["llm_tokens", model, ("type", "output")] == 5
    assert found["llm_latency_ms", ("le", "5.0"), model] == 1
    assert found["llm_latency_ms", ("le", "+Inf"), model] == 2
    assert found["headgate_cache_entries", ("store", "memory")] == 0


@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
@pytest.mark.parametrize("version", ["abc", "1.x", ".", "-1"])
def test_a_version_that_is_none_gets_the_plain_format(door: Any, kind: str, version: str) -> None:
    shown = exposition(door)
    assert shown.render(f"{kind}; version={version}") == shown.render("")


@pytest.mark.parametrize(("accept", "parse"), PARSERS)
def test_a_gateway_without_calls_has_valid_metrics(door: Any, accept: str, parse: Any) -> None:
    assert samples(door, accept, parse)["headgate_cache_bytes", ("store", "memory")] == 0


@pytest.mark.parametrize(("accept", "parse"), PARSERS)
@pytest.mark.parametrize("model", ['a"b', "a\\b", "a\nllm_calls 5", "模型", "", "a\x00b", "a\r\nb"])
def test_a_model_name_cannot_break_the_format(
    door: Any, accept: str, parse: Any, model: str
) -> None:
    door.runtime.metrics.record_call(model, 1.0)
    found = samples(door, accept, parse)
    assert {name[1][1] for name in found if name[0] == "llm_calls"} == {model}


def test_buckets_rise_to_the_number_of_calls(door: Any) -> None:
    for latency_ms in (0.1, 7.0, 90.0, 4_000.0, 9e9):
        door.runtime.metrics.record_call("m", latency_ms)
    found = samples(door, "text/plain", prometheus)
    heights = sorted(
        (float(dict(labels)["le"]), value)
        for (name, *labels), value in found.items()
        if name == "llm_latency_ms"
    )
    assert [height for _, height in heights] == sorted(height for _, height in heights)
    assert heights[-1] == (float("inf"), 5)


def test_ten_thousand_model_names_stay_below_one_megabyte(door: Any) -> None:
    for number in range(10_000):
        door.runtime.metrics.record_call(f"model-{number}", 1.0)
    text, _ = exposition(door).render("text/plain")
    assert len(text) < 1_000_000


def test_skipped_answers_are_counted_by_reason(door: Any) -> None:
    question = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    door.post("/v1/chat/completions", question, {"cache-control": "no-store"})
    found = samples(door, "text/plain", prometheus)
    name = "headgate_cache_store_skipped_total"
    assert found[name, ("reason", "no_store")] == 1


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("", "text/plain"), ("*/*", "text/plain"), (OPENMETRICS, "application/openmetrics-text")],
)
def test_the_scraper_gets_the_format_it_asks_for(door: Any, accept: str, content_type: str) -> None:
    _, named = exposition(door).render(accept)
    assert named.decode().startswith(content_type)
