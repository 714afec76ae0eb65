"""Where a runtime reports to: a tracer and a meter, of the process or of whoever gives others."""

from __future__ import annotations

from importlib.metadata import version

from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import TracerProvider, get_tracer

from headgate.clock import Clock
from headgate.config import Config
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.telemetry import names
from headgate.telemetry.instruments import Instruments
from headgate.telemetry.places import Places
from headgate.telemetry.spans import Spans


class Telemetry:
    """For one runtime, and those that take over from it. Without providers those count that
    `opentelemetry.trace` and `opentelemetry.metrics` know, set before or later."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        release = version("headgate")
        self._tracer = get_tracer(names.SCOPE, release, tracer_provider)
        self._instruments = Instruments(get_meter(names.SCOPE, release, meter_provider))

    def spans(self, config: Config, clock: Clock, metrics: Metrics, ledger: Ledger) -> Spans:
        """The layers of a runtime under `config`, whose counters are read from now on."""
        self._instruments.read_from(metrics, ledger)
        return Spans(self._tracer, self._instruments, clock, Places(config, metrics))
