"""Every secret of a configuration, for whoever has to keep them out of a text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from headgate.types import Secret


def secrets_of(settings: Any) -> Iterator[str]:
    """Of a configuration, or any part of it; a password in a URL is one, too."""
    if isinstance(settings, Secret):
        yield settings.reveal()
    elif isinstance(settings, str):
        yield from _password(settings)
    elif dataclasses.is_dataclass(settings):
        for field in dataclasses.fields(settings):
            yield from secrets_of(getattr(settings, field.name))
    elif isinstance(settings, dict):
        for inner in settings.values():
            yield from secrets_of(inner)
    elif isinstance(settings, tuple | list):
        for inner in settings:
            yield from secrets_of(inner)


def _password(text: str) -> Iterator[str]:
    if "://" in text and "@" in text:
        try:
            yield urlsplit(text).password or ""
        except ValueError:
            return
