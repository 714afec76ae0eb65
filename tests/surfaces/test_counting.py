"""What is read of a runtime, and under which names it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.config import Config, ModelConfig
from headgate.core.tally import SINCE
from headgate.metrics import Metrics
from headgate.surfaces.counting import Labels, levels, reading


def labels() -> Labels:
    metrics = Metrics(listed=["listed"])
    metrics.record_call("answered", 1.0)
    target = ModelConfig(targets=("a/x=3", "b/y"), content_fallbacks=("c/z",))
    return Labels(Config(models={"listed": target}), metrics)


@pytest.mark.parametrize(
    ("provider", "model", "is_known"),
    [("a", "x", True), ("b", "y", True), ("c", "z", True), ("a", "answered", True),
     ("a", "y", False), ("a", "x=3", False), ("z", "invented", False)],
)  # fmt: skip
def test_targets_of_the_configuration_and_models_that_answered_have_names(
    provider: str, model: str, is_known: bool
) -> None:
    assert labels().knows(provider, model) is is_known


def test_what_is_not_known_is_shown_as_other() -> None:
    shown = labels().shown
    assert shown(("attempt", "a", "invented", "ok")) == ("attempt", "a", "other", "ok")
    assert shown(("attempt", "a", "answered", "ok")) == ("attempt", "a", "answered", "ok")
    assert shown(("attempt_time", "a", "answered", "ok")) == ("attempt_time", "a", "other", "ok")
    assert shown(("attempt_time", "a", "x", "ok")) == ("attempt_time", "a", "x", "ok")
    assert shown(("ledger", "invented", "answer")) == ("ledger", "other", "answer")
    assert shown(("batch", "invented")) == ("batch", "other")
    assert shown(("batch", "answered")) == ("batch", "answered")
    assert shown(("error", "m", "timeout")) == ("error", "m", "timeout")


def test_a_call_leaves_its_counts_everywhere(door: Any) -> None:
    question = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
    for _ in range(3):
        assert door.post("/v1/chat/completions", question).status == 200
    names = Labels(door.runtime.config, door.runtime.metrics)
    found = reading(door.runtime, names)
    assert found["model", "m"][:3] == [3, 2, 1]
    assert found["attempt", "fake", "m", "ok"] == (1,)
    assert found["attempt_time", "fake", "m", "ok"][:-1].count(1) == 1
    assert found["ledger", "m", "answer"][0] == 1
    assert found["ledger", "m", "avoided_exact"][0] == 2
    assert found["breaker_calls", "endpoint", "fake", ""][0] == 1
    assert found["store", "memory"] == (0, 0, 0, 0)
    just_now = levels(door.runtime, names, 5.0)
    assert just_now[SINCE,] == 5.0
    assert just_now["store_entries", "memory"] == 1
    assert just_now["in_flight", "fake", "m"] == 0
    assert just_now["limit", "fake", "m"] == 1000
    assert just_now["breaker_state", "deployment", "fake", "m"] == 0
