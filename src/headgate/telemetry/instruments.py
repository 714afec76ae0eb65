"""What is counted by OpenTelemetry.

Calls and money are read from the counters of the runtime when somebody collects. There is no
histogram that can be read like that, so attempts are recorded as they end; a hit records nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from headgate.core.series import RESULTS
from headgate.ledger import Ledger
from headgate.metrics import Metrics
from headgate.telemetry import names
from headgate.types import Usage

_NANOS = 1e9
_SECONDS, _TOKENS = list(names.SECONDS_BOUNDS), list(names.TOKENS_BOUNDS)


class Instruments:
    """Made once for each meter. Safe from any thread."""

    def __init__(self, meter: Meter) -> None:
        self._sources: tuple[weakref.ref[Metrics], weakref.ref[Ledger]] | None = None
        self._duration = meter.create_histogram(
            names.DURATION_METRIC, "s", "Attempts at providers, streams to their end.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip
        self._first = meter.create_histogram(
            names.FIRST_CHUNK_METRIC, "s", "To the first content of a stream.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip
        self._tokens = meter.create_histogram(
            names.TOKENS_METRIC, "{token}", "Tokens of an attempt, as its provider counted them.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )  # fmt: skip
        meter.create_observable_counter(
            names.CALLS_METRIC, [self._calls], "{call}", "Calls that have ended, by how."
        )
        meter.create_observable_counter(
            names.COST_METRIC, [self._cost], "{USD}", "Dollars booked, by the ledger's kinds."
        )

    def read_from(self, metrics: Metrics, ledger: Ledger) -> None:
        """Whose counters are read from now on."""
        self._sources = weakref.ref(metrics), weakref.ref(ledger)

    def ended(self, elapsed_s: float, usage: Usage | None, labels: Mapping[str, Any]) -> None:
        """An attempt has ended; `usage` is None where its provider has counted nothing."""
        self._duration.record(elapsed_s, labels)
        if usage is not None:
            self._tokens.record(usage.tokens_in, {**labels, names.TOKEN_TYPE: names.INPUT})
            self._tokens.record(usage.tokens_out, {**labels, names.TOKEN_TYPE: names.OUTPUT})

    def began(self, elapsed_s: float, labels: Mapping[str, Any]) -> None:
        """The first content of a stream is here."""
        self._first.record(elapsed_s, labels)

    def _calls(self, _: CallbackOptions) -> Iterable[Observation]:
        metrics = None if self._sources is None else self._sources[0]()
        for row in () if metrics is None else metrics.series():
            for result, count in zip(RESULTS, row.results, strict=True):
                labels = {names.REQUEST_MODEL: row.model, names.CALL_RESULT: result}
                yield Observation(count, labels)

    def _cost(self, _: CallbackOptions) -> Iterator[Observation]:
        ledger = None if self._sources is None else self._sources[1]()
        for model, sums in ({} if ledger is None else ledger.sums()).items():
            for kind, one in sums.items():
                labels = {names.REQUEST_MODEL: model, names.KIND: kind}
                yield Observation(one.nanos / _NANOS, labels)
