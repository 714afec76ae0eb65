"""What /metrics says about targets, read back by the reference parsers."""

from __future__ import annotations

from typing import Any

import pytest
from guarding import BAD, GOOD, THROTTLED, Scene, to
from prometheus_client.openmetrics.parser import text_string_to_metric_families as from_openmetrics
from prometheus_client.parser import text_string_to_metric_families as from_text

from headgate.config import Config, ModelConfig
from headgate.core.tally import Growth
from headgate.metrics import Metrics
from headgate.surfaces.counting import Labels, states_of, targets_of
from headgate.surfaces.exposition_targets import target_families
from headgate.surfaces.exposition_text import written

Found = dict[tuple[Any, ...], float]


def samples(scene: Scene, *, openmetrics: bool = False) -> Found:
    """Every sample by its name and labels."""
    metrics = Metrics()
    metrics.record_call("m", 1.0)
    labels = Labels(Config(models={"listed": ModelConfig(targets=("a/mine=2",))}), metrics)
    growth = Growth()
    growth.take(dict(targets_of(scene.guards, scene.now_s, labels)), labels.shown)
    families = target_families(growth.totals, states_of(scene.guards, labels))
    parse = from_openmetrics if openmetrics else from_text
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(written(families, openmetrics=openmetrics).decode())
        for sample in family.samples
    }


def of(provider: str, model: str = "", **more: str) -> tuple[tuple[str, str], ...]:
    gate = "deployment" if model else "endpoint"
    return tuple(sorted({"provider": provider, "model": model, "gate": gate, **more}.items()))


@pytest.mark.parametrize("openmetrics", [False, True])
def test_both_reference_parsers_read_breakers_by_target(openmetrics: bool) -> None:
    scene = Scene()
    scene.call(GOOD, BAD, BAD, BAD)
    scene.clock.advance(3.0)
    found = samples(scene, openmetrics=openmetrics)
    assert found["headgate_breaker_state", *of("a", "m")] == 1
    assert found["headgate_breaker_state", *of("a")] == 0
    assert found["headgate_breaker_calls_total", *of("a", "m", kind="fault")] == 3
    assert found["headgate_breaker_calls_total", *of("a", "m", kind="ok")] == 1
    assert found["headgate_breaker_open_seconds_total", *of("a", "m")] == 3
    change = of("a", "m", **{"from": "closed", "to": "open", "reason": "fault_ratio"})
    assert found["headgate_breaker_transitions_total", *change] == 1
    failed = (("outcome", "fault"), ("reason", "server_error"), ("target", "a/m"))
    assert found["headgate_attempts_total", *failed] == 3


@pytest.mark.parametrize(
    ("state", "number"),
    [("closed", 0), ("open", 1), ("forced_open", 3), ("disabled", 3), ("metrics_only", 3)],
)
def test_states_are_numbers(state: str, number: int) -> None:
    scene = Scene()
    scene.call(GOOD)
    scene.guards.force("deployment", "a/m", state, scene.now_s)
    assert samples(scene)["headgate_breaker_state", *of("a", "m")] == number


def test_half_open_is_two() -> None:
    scene = Scene()
    scene.call(BAD, BAD, BAD, BAD)
    scene.clock.advance(8.0)
    scene.admit()
    assert samples(scene)["headgate_breaker_state", *of("a", "m")] == 2


def test_a_target_that_the_configuration_names_is_shown_with_how_long_it_took() -> None:
    scene = Scene()
    scene.call(GOOD, call=to("a", "mine"))
    found = samples(scene)
    assert ("headgate_breaker_state", *of("a", "mine")) in found
    took = (("outcome", "ok"), ("target", "a/mine"))
    assert found["headgate_attempt_duration_seconds_count", *took] == 1
    assert found["headgate_attempt_duration_seconds_bucket", ("le", "+Inf"), *took] == 1


def test_what_clients_have_invented_is_counted_under_other_and_has_no_breaker() -> None:
    scene = Scene()
    for number in range(5):
        scene.call(GOOD, call=to("a", f"meta/llama/{number}"))
    found = samples(scene)
    others = (("outcome", "ok"), ("reason", "ok"), ("target", "a/other"))
    assert found["headgate_attempts_total", *others] == 5
    assert "llama" not in repr(found)


def test_repeats_are_told_by_reason() -> None:
    scene = Scene()
    scene.guards.retries["server_error"] += 2
    scene.guards.fallbacks["rate_limit"] += 3
    scene.guards.hedges["won"] += 4
    scene.guards.denials["budget"] += 5
    found = samples(scene)
    assert found["headgate_retries_total", ("reason", "server_error")] == 2
    assert found["headgate_fallbacks_total", ("reason", "rate_limit")] == 3
    assert found["headgate_hedges_total", ("outcome", "won")] == 4
    assert found["headgate_retry_denied_total", ("reason", "budget")] == 5


def test_without_calls_the_families_are_valid_and_empty() -> None:
    assert samples(Scene()) == {}


def test_no_credential_is_a_label_and_series_are_bounded() -> None:
    scene = Scene()
    for number in range(200):
        scene.call(GOOD, THROTTLED, call=to("a", f"m{number}", "key-1"))
    found = samples(scene)
    assert len(found) < 150
    assert "key-1" not in repr(found)
