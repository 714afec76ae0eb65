"""What a target is called by OpenTelemetry, and where it is."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from headgate.config import Config
from headgate.metrics import Metrics
from headgate.providers.settings import DEFAULT_BASE_URLS
from headgate.telemetry import names
from headgate.types import Call


class Places:
    """The configured providers; a target that is none of them is called by its dialect."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: dict[str, dict[str, str]] = {}
        for name, settings in config.providers.items():
            url = settings.base_url or DEFAULT_BASE_URLS.get(settings.kind, "")
            place = {names.PROVIDER: settings.kind, names.SERVER: urlsplit(url).hostname or ""}
            self._known[name] = {key: value for key, value in place.items() if value}

    def asked(self, call: Call) -> dict[str, Any]:
        """Attributes of an attempt before it is made."""
        operation = names.OPERATIONS.get(call.operation, call.operation)
        place = self._known.get(call.target.provider)
        if place is None:
            place = {names.PROVIDER: names.DIALECTS.get(call.operation, "openai")}
        return {
            names.OPERATION: operation,
            names.REQUEST_MODEL: call.target.model,
            names.STREAM: call.streamed,
            **place,
        }

    def labels(self, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
        """The same for a metric: clients invent names of models, so those that have no row in the
        numbers stand under `other`."""
        labels = {**asked, names.REQUEST_MODEL: self._metrics.known(call.model)}
        del labels[names.STREAM]
        return labels
