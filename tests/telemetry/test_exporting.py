"""Which exporters a gateway has, by the variables of OpenTelemetry."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from headgate.errors import ConfigError
from headgate.telemetry.exporting import check

SILENT = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
EXPORTING = """
from headgate.config import Config
from headgate.layers.settings import MetricsConfig
from headgate.runtime import Runtime
from headgate.telemetry.exporting import set_up
set_up()
with Runtime(Config(metrics=MetricsConfig(otel=True))) as runtime:
    runtime.cached_llm_call("q", "m", {}, lambda: "a")
"""


@pytest.mark.parametrize(
    ("environment", "package"),
    [({}, "opentelemetry-exporter-otlp-proto-http"),
     ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "opentelemetry-exporter-otlp-proto-grpc"),
     ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "opentelemetry-exporter-otlp-proto-grpc"),
     ({**SILENT, "OTEL_METRICS_EXPORTER": "nobodys"}, "opentelemetry-exporter-nobodys")],
)  # fmt: skip
def test_an_exporter_that_is_not_there_is_named_with_its_package(
    environment: dict[str, str], package: str
) -> None:
    with pytest.raises(ConfigError, match=f"metrics.otel: .*pip install {package}, "):
        check(environment)


def test_what_needs_no_package_is_taken() -> None:
    assert check(SILENT) == []
    assert check({"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}) == []


@pytest.mark.parametrize("value", ["span_only", "true", "SPAN_AND_EVENT"])
def test_content_is_never_captured_and_it_says_so(value: str) -> None:
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    (note,) = check({**SILENT, name: value})
    assert note == f"{name} is not obeyed: no span has prompts or answers"
    assert check({**SILENT, name: "no_content"}) == []


def test_a_signal_that_goes_nowhere_is_not_reported() -> None:
    environment = {**os.environ, **SILENT, "OTEL_TRACES_EXPORTER": "console"}
    done = subprocess.run(
        [sys.executable, "-c", EXPORTING], capture_output=True, timeout=120, env=environment
    )
    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert '"name": "call m"' in told
    assert "headgate.calls" not in told


def test_what_was_reported_is_out_when_the_process_ends() -> None:
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "console",
                   "OTEL_METRICS_EXPORTER": "console"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", EXPORTING], capture_output=True, timeout=120, env=environment
    )
    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert '"name": "call m"' in told
    assert '"service.name": "headgate"' in told
    assert '"name": "headgate.calls"' in told
