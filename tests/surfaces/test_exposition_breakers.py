"""What /metrics says about targets, read back by the reference parsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from guarding import BAD, GOOD, THROTTLED, Scene, to
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from headgate.guard_numbers import ROWS_MAX, guard_numbers
from headgate.surfaces.exposition_breakers import breaker_families

Found = dict[tuple[Any, ...], float]


class _Collected:
    def __init__(self, scene: Scene) -> None:
        self._numbers = guard_numbers(scene.guards, scene.now_s)

    def collect(self) -> Any:
        return breaker_families(self._numbers)


def samples(
    scene: Scene,
    render: Callable[[Any], bytes] = generate_latest,
    parse: Callable[[str], Any] = prometheus,
) -> Found:
    """Every sample by its name and labels."""
    text = render(_Collected(scene)).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def of(provider: str, model: str = "", **more: str) -> tuple[tuple[str, str], ...]:
    gate = "deployment" if model else "endpoint"
    return tuple(sorted({"provider": provider, "model": model, "gate": gate, **more}.items()))


@pytest.mark.parametrize(
    ("render", "parse"), [(generate_latest, prometheus), (generate_openmetrics, openmetrics)]
)
def test_both_reference_parsers_read_breakers_by_target(render: Any, parse: Any) -> None:
    scene = Scene()
    scene.call(GOOD, BAD, BAD, BAD)
    scene.clock.advance(3.0)
    found = samples(scene, render, parse)
    assert found["headgate_breaker_state", *of("a", "m")] == 1
    assert found["headgate_breaker_state", *of("a")] == 0
    assert found["headgate_breaker_calls_total", *of("a", "m", kind="fault")] == 3
    assert found["headgate_breaker_calls_total", *of("a", "m", kind="ok")] == 1
    assert found["headgate_breaker_open_seconds_total", *of("a", "m")] == 3
    change = {"gate": "deployment", "target": "a/m", "from": "closed", "to": "open",
              "reason": "fault_ratio"}  # fmt: skip
    assert found["headgate_breaker_transitions_total", *sorted(change.items())] == 1
    failed = (("outcome", "server_error"), ("provider", "a"))
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


def test_a_model_whose_name_has_slashes_keeps_it() -> None:
    scene = Scene()
    scene.call(GOOD, call=to("a", "meta/llama/3"))
    assert ("headgate_breaker_state", *of("a", "meta/llama/3")) in samples(scene)


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


def test_no_credential_is_a_label_and_rows_are_bounded() -> None:
    scene = Scene()
    for number in range(ROWS_MAX * 2):
        scene.call(GOOD, THROTTLED, call=to("a", f"m{number}", "key-1"))
    found = samples(scene)
    assert sum(name == "headgate_breaker_state" for name, *_ in found) <= 2 * ROWS_MAX
    assert "key-1" not in repr(found)
