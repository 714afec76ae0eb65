"""Where the gateway sends spans and metrics: exporters of OpenTelemetry by their registered names,
set up by its own environment variables. A program that has the library sets up its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from headgate.clock import SystemClock
from headgate.errors import ConfigError, Problem

_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_NO_CAPTURE = ("", "no_content", "false")


def check(environment: Mapping[str, str]) -> list[str]:
    """Notes for whoever starts a gateway. Raises ConfigError for an exporter that is not there."""
    for signal in ("traces", "metrics"):
        _exporters(signal, environment)
    if environment.get(_CAPTURE, "").lower() in _NO_CAPTURE:
        return []
    return [f"{_CAPTURE} is not obeyed: no span has prompts or answers"]


def set_up(environment: Mapping[str, str] = os.environ) -> None:
    """Gives this process providers that export; those it has already stay. They flush at its end.
    Raises ConfigError."""
    spans, numbers = (_exporters(signal, environment) for signal in ("traces", "metrics"))
    # The variables win: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
    named = {"service.name": "headgate", **_named(environment)}
    instance = f"{int(SystemClock().random() * 2**48):012x}"
    resource = Resource.create({"service.instance.id": instance, **named})
    # A signal that goes nowhere has no provider, and costs next to nothing.
    if spans:
        tracer_provider = TracerProvider(resource=resource)
        for exporter in spans:
            tracer_provider.add_span_processor(BatchSpanProcessor(exporter()))
        trace.set_tracer_provider(tracer_provider)
    if numbers:
        readers = [PeriodicExportingMetricReader(exporter()) for exporter in numbers]
        metrics.set_meter_provider(MeterProvider(readers, resource))


def _named(environment: Mapping[str, str]) -> dict[str, str]:
    name = environment.get("OTEL_SERVICE_NAME")
    return {"service.name": name} if name else {}


def _exporters(signal: str, environment: Mapping[str, str]) -> list[Any]:
    """The classes that the environment names, OTLP's where it names none."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    chosen = environment.get(variable) or "otlp"
    names = [name.strip() for name in chosen.split(",")]
    return [
        _class_of(_registered(name, signal, environment), signal, variable)
        for name in names
        if name not in ("", "none")
    ]


def _registered(name: str, signal: str, environment: Mapping[str, str]) -> str:
    """Under which name its package has it; OTLP has one for each protocol."""
    if name != "otlp":
        return name
    usual = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    protocol = environment.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL") or usual
    return _PROTOCOLS.get(protocol, protocol)


def _class_of(name: str, signal: str, variable: str) -> Any:
    for found in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        return found.load()
    package = f"opentelemetry-exporter-{name.replace('_', '-')}"
    message = (
        f"there is no exporter {name!r} for {signal}: pip install {package}, or choose another "
        f"with {variable} (console, none)"
    )
    raise ConfigError([Problem("metrics.otel", message)])
