"""How a runtime comes to report: a setting, or providers that somebody gives it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import headgate.telemetry as room
from headgate.config import Config
from headgate.layers.settings import MetricsConfig
from headgate.runtime import Runtime

GLOBAL = """
import json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from headgate.config import Config
from headgate.layers.settings import MetricsConfig
from headgate.runtime import Runtime

exporter = InMemorySpanExporter()
with Runtime(Config(metrics=MetricsConfig(otel=True))) as runtime:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    runtime.cached_llm_call("q", "m", {}, lambda: "a")
print(json.dumps([span.name for span in exporter.get_finished_spans()]))
"""
WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from headgate.config import Config
from headgate.errors import ConfigError
from headgate.layers.settings import MetricsConfig
from headgate.runtime import Runtime

with Runtime() as runtime:
    assert runtime.cached_llm_call("q", "m", {}, lambda: "a") == "a"
try:
    Runtime(Config(metrics=MetricsConfig(otel=True)))
except ConfigError as error:
    print(error)
"""
OFF = """
import sys
from headgate.runtime import Runtime
with Runtime() as runtime:
    runtime.cached_llm_call("q", "m", {}, lambda: "a")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_the_setting_uses_the_providers_of_the_process_whenever_they_are_set() -> None:
    assert json.loads(run(GLOBAL)) == ["call m"]


def test_without_the_extra_it_says_what_to_install() -> None:
    assert run(WITHOUT) == (
        "metrics.otel: OpenTelemetry is not installed: pip install 'headgate[otel]', "
        "or set it to false"
    )


def test_nothing_of_it_is_loaded_where_nobody_wants_it() -> None:
    assert run(OFF) == "[]"


def test_the_setting_is_enough() -> None:
    with Runtime(Config(metrics=MetricsConfig(otel=True))) as runtime:
        assert "span" in [placed.name for placed in runtime.layers]
        assert runtime.cached_llm_call("q", "m", {}, lambda: "a") == "a"


def test_the_room_has_one_public_name() -> None:
    assert room.Telemetry.__name__ == "Telemetry"
    with pytest.raises(AttributeError, match="no attribute 'Tracer'"):
        _ = room.Tracer
