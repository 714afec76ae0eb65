"""/metrics, read back by the reference parsers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from headgate.config import Config, ProviderConfig
from headgate.core.booking import KINDS, Row
from headgate.core.money import Tokens
from headgate.core.outcome import OUTCOMES
from headgate.layers.settings import MetricsConfig
from headgate.metrics import MODELS_MAX
from headgate.runtime import Runtime
from headgate.surfaces.exposition import Exposition
from headgate.surfaces.numbers import numbers_of
from headgate.types import Call, Target, Usage, WireRequest

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


def bomb(runtime: Runtime, number: int) -> None:
    """Everything that a call of an invented model may leave behind."""
    model, metrics = f"an-entirely-made-up-model-{number}", runtime.metrics
    metrics.record_usage(model, Usage(10, 5))
    metrics.record_call(model, 1.0)
    metrics.record_hit(model, 1.0)
    metrics.record_first_chunk(model, 1.0)
    metrics.record_error(model, f"error-{number}")
    call = Call("chat", model, WireRequest("/", b"", ()), b"", b"s" * 32, Target("p", model))
    runtime.ledger.book("", call, [Row(kind, f"p/{model}", Tokens(5), 7) for kind in KINDS])
    runtime.guards.tally(("p", model), OUTCOMES["ok"], 0.1)
    if number % 10 == 0:
        runtime.guards.deployments.get(("p", model), 0.0)


@pytest.mark.parametrize("naming", ["compat", "standard"])
def test_fifty_thousand_model_names_stay_below_one_megabyte(door: Any, naming: str) -> None:
    for number in range(50_000):
        bomb(door.runtime, number)
    shown = exposition(door, naming)
    text, _ = shown.render("text/plain")
    assert len(text) < 1_000_000
    found = {
        sample.labels["model"]
        for family in prometheus(text.decode())
        for sample in family.samples
        if "model" in sample.labels
    }
    assert len(found) <= MODELS_MAX + 1
    (overflow,) = re.findall(r"headgate_label_overflow_total.* (\d+)", text.decode())
    assert int(overflow) >= 50_000 - MODELS_MAX
    bomb(door.runtime, 60_000)
    again, _ = shown.render("text/plain")
    assert len(again) < len(text) + 1000


def test_long_names_have_fewer_rows_and_the_page_is_no_longer(door: Any) -> None:
    for number in range(5_000):
        door.runtime.metrics.record_call(f"{number}-" + '\\"' * 100, 1.0)
    text, _ = exposition(door).render("text/plain")
    assert len(text) < 200_000


COMPAT = {"llm_calls", "llm_errors", "llm_cache_hits", "llm_cache_misses", "llm_tokens",
          "llm_latency_ms"}  # fmt: skip
DURATION = "headgate_call_duration_seconds"


def families(door: Any, naming: str, accept: str = "", parse: Any = prometheus) -> set[str]:
    text, _ = exposition(door, naming).render(accept)
    return {family.name for family in parse(text.decode())}


def test_naming_says_which_names_are_shown(door: Any) -> None:
    door.runtime.metrics.record_call("m", 1.0)
    compat, standard, both = (families(door, name) for name in ("compat", "standard", "both"))
    assert compat - standard == COMPAT
    assert standard - compat == {DURATION}
    assert both == compat | standard


@pytest.mark.parametrize("naming", ["compat", "standard", "both"])
@pytest.mark.parametrize(("accept", "parse"), PARSERS)
def test_every_naming_is_valid_in_both_formats(
    door: Any, naming: str, accept: str, parse: Any
) -> None:
    for number in range(3):
        bomb(door.runtime, number)
    names = families(door, naming, accept, parse)
    assert len(names) == len(set(names)) > 30
    assert names >= {"headgate_build_info", "headgate_label_overflow"} or names >= {
        "headgate_build", "headgate_label_overflow",
    }  # fmt: skip


def test_the_setting_reaches_the_page(open_door: Callable[..., Any]) -> None:
    fake = {"fake": ProviderConfig(kind="fake")}
    door = open_door(Config(providers=fake, metrics=MetricsConfig(naming="standard")))
    question = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    door.post("/v1/chat/completions", question)
    text = door.get("/metrics").body.decode()
    assert DURATION in text
    assert "llm_calls" not in text
    assert 'headgate_calls_total{model="m",result="upstream"} 1' in text


def test_a_failing_model_that_never_answered_is_other(door: Any) -> None:
    for model in ("misspelt-1", "misspelt-2"):
        question = {"model": model, "messages": [{"role": "user", "content": "q"}]}
        door.post("/v1/chat/completions", question, {"cache-control": "only-if-cached"})
    found = samples(door, "text/plain", prometheus)
    assert found["llm_errors", ("model", "other")] == 2
    refused = (("model", "other"), ("reason", "cache_only_miss"))
    assert found["headgate_refusals_total", *refused] == 2
    assert not [name for name in found if "misspelt" in repr(name)]


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
