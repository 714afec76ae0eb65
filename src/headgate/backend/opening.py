"""The configuration of a backend: its `headgate.toml`, and the dictionaries in its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.backend.service import Backend
from headgate.config_file import load
from headgate.config_file_seed import with_runtime_settings
from headgate.runtime import Runtime


def opened(
    file: Path,
    runtime_settings: Mapping[str, Any],
    model_cache_config: Mapping[str, Mapping[str, Any]] | None = None,
) -> Backend:
    """A backend with the configuration in `file`; each key that the two dictionaries set wins over
    it. Raises ConfigError with every problem found."""
    config = with_runtime_settings(load(file), runtime_settings, model_cache_config)
    return Backend(Runtime(config))
