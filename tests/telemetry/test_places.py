"""What a target is called, and how a model is counted."""

from __future__ import annotations

from headgate.config import Config, ProviderConfig
from headgate.metrics import Metrics
from headgate.telemetry.places import Places
from headgate.types import Call, Target, WireRequest

CONFIG = Config(
    providers={
        "own": ProviderConfig(kind="openai", base_url="http://llm.internal:8000/v1"),
        "vendor": ProviderConfig(kind="anthropic"),
        "invented": ProviderConfig(kind="fake"),
    }
)


def call(provider: str, operation: str = "chat") -> Call:
    request = WireRequest("/", b"", ())
    return Call(operation, "asked", request, b"", b"", Target(provider, "theirs"))


def test_a_configured_provider_is_called_by_its_kind_and_has_an_address() -> None:
    asked = Places(CONFIG, Metrics()).asked
    assert asked(call("own")) == {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "theirs",
        "gen_ai.request.stream": False, "gen_ai.provider.name": "openai",
        "server.address": "llm.internal",
    }  # fmt: skip
    assert asked(call("vendor", "messages"))["server.address"] == "api.anthropic.com"
    assert "server.address" not in asked(call("invented"))


def test_any_other_is_called_by_its_dialect() -> None:
    asked = Places(CONFIG, Metrics()).asked
    named = [asked(call("elsewhere.example", name)) for name in ("messages", "generate", "chat")]
    assert [one["gen_ai.provider.name"] for one in named] == ["anthropic", "gcp.gemini", "openai"]
    assert [one["gen_ai.operation.name"] for one in named] == ["chat", "generate_content", "chat"]


def test_a_metric_has_the_models_that_have_a_row() -> None:
    metrics = Metrics()
    places = Places(CONFIG, metrics)
    asked = places.asked(call("own"))
    assert places.labels(call("own"), asked)["gen_ai.request.model"] == "other"
    metrics.record_hit("asked", 1.0)
    labels = places.labels(call("own"), asked)
    assert labels["gen_ai.request.model"] == "asked"
    assert "gen_ai.request.stream" not in labels
