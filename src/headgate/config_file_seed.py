"""The settings dictionaries of an N3 app, `RUNTIME_SETTINGS` and `MODEL_CACHE_CONFIG`.

Times are seconds, `batch_timeout_ms` milliseconds. Checked by the same model as a file.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from headgate.config import Config
from headgate.config_file_kinds import shown
from headgate.config_file_model import settings
from headgate.config_file_rules import broken
from headgate.config_file_text import Path, Tree, dotted
from headgate.errors import ConfigError, Problem

# Section and key there: section and key here.
_SAME: dict[str, tuple[str, tuple[str, ...]]] = {
    "llm_cache": ("cache", ("enabled", "maxsize", "ttl", "persist", "persist_path")),
    "llm_batch": ("batch", ("enabled",)),
    "circuit_breaker": (
        "breaker",
        ("enabled", "failure_threshold", "recovery_timeout", "success_threshold"),
    ),
}
_RENAMED: dict[Path, Path] = {("llm_batch", "max_batch_size"): ("batch", "items_max")}
_MILLISECONDS: dict[Path, Path] = {("llm_batch", "batch_timeout_ms"): ("batch", "delay_max")}
_THERE: dict[Path, Path] = (
    {(section, key): (here, key) for section, (here, keys) in _SAME.items() for key in keys}
    | _RENAMED
    | _MILLISECONDS
)
_MODELS_ARGUMENT = "models"


def from_runtime_settings(
    given: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]] | None = None
) -> Config:
    """The configuration of an N3 app, from its two dictionaries.

    Raises ConfigError with every problem found; keys are named as in the dictionaries.
    """
    if not isinstance(given, Mapping):
        raise ConfigError([Problem("", f"expected a dictionary of settings, got {shown(given)}")])
    tree: Tree = {}
    problems = [Problem(dotted(path), message) for path, message in _translate(given, tree)]
    if "circuit_breaker" in given:
        # What N3 guards are callables.
        tree.setdefault("breaker", {})["callables"] = True
    if models:
        tree.setdefault("cache", {})["models"] = _plain(models)
    config, wrong = settings(tree)
    problems += [Problem(_named_there(path), message) for path, message in (*wrong, *broken(tree))]
    if config is None or problems:
        raise ConfigError(problems)
    return config


def with_runtime_settings(
    config: Config,
    given: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """`config` with what the two dictionaries set; everything else stays. Raises ConfigError."""
    said = from_runtime_settings(given, models)
    changed: dict[str, dict[str, Any]] = {}
    for section, values in given.items():
        for key in values:
            here, name = _THERE[section, key]
            changed.setdefault(here, {})[name] = getattr(getattr(said, here), name)
    if models:
        changed.setdefault("cache", {})["models"] = {**config.cache.models, **said.cache.models}
    blocks: dict[str, Any] = {
        here: dataclasses.replace(getattr(config, here), **values)
        for here, values in changed.items()
    }
    return dataclasses.replace(config, **blocks)


def _translate(given: Mapping[str, Any], tree: Tree) -> Iterator[tuple[Path, str]]:
    """Fills `tree` and yields what has no place in it."""
    for section, values in given.items():
        if section not in _SAME:
            yield (str(section),), _unknown(section, list(_SAME))
        elif not isinstance(values, Mapping):
            yield (section,), f"expected a dictionary, got {shown(values)}"
        else:
            yield from _translate_section(section, values, tree)


def _translate_section(
    section: str, values: Mapping[str, Any], tree: Tree
) -> Iterator[tuple[Path, str]]:
    for key, value in values.items():
        place = _THERE.get((section, key))
        if place is None:
            known = [name for there, name in _THERE if there == section]
            yield (section, str(key)), _unknown(key, known)
        elif (section, key) not in _MILLISECONDS:
            tree.setdefault(place[0], {})[place[1]] = value
        elif isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            yield (section, key), f"expected milliseconds, 0 or more, got {shown(value)}"
        else:
            tree.setdefault(place[0], {})[place[1]] = value / 1000


def _unknown(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(str(key).lower(), known, n=1)
    if close:
        return f"unknown key; did you mean {close[0]!r}?"
    return f"unknown key; known here: {', '.join(known)}"


def _named_there(path: Path) -> str:
    """The name of a key in the dictionaries."""
    if path[:2] == ("cache", "models"):
        return dotted((_MODELS_ARGUMENT, *path[2:]))
    back = {here: there for there, here in _THERE.items()}
    return dotted((*back[path[:2]], *path[2:]))


def _plain(value: Any) -> Any:
    """Mappings of any class as dictionaries: the model takes nothing else."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
