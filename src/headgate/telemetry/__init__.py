"""Traces and metrics by OpenTelemetry, for whoever has switched them on. This file imports nothing
of it: the package is an extra, and costs a second of every start.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headgate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from headgate.telemetry.opening import Telemetry

__all__ = ["Telemetry", "exporters", "opened"]

_MISSING = "OpenTelemetry is not installed: pip install 'headgate[otel]', or set it to false"


def __getattr__(name: str) -> Any:
    """`Telemetry`, when it is asked for."""
    if name == "Telemetry":
        with _found():
            return importlib.import_module("headgate.telemetry.opening").Telemetry
    raise AttributeError(f"module 'headgate.telemetry' has no attribute {name!r}")


def exporters() -> Any:
    """The module that sets up exporters. Raises ConfigError where the extra is not installed."""
    with _found():
        return importlib.import_module("headgate.telemetry.exporting")


def opened(is_on: bool, given: Any, before: Any) -> Any:
    """What a runtime reports to: what its maker has given it, else that of the runtime before it,
    else the providers of the process where it `is_on`, else None. Raises ConfigError."""
    known = given or before
    return known if known is not None or not is_on else __getattr__("Telemetry")()


@contextmanager
def _found() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        if not str(missing.name).startswith("opentelemetry"):
            raise
        raise ConfigError([Problem("metrics.otel", _MISSING)]) from None
