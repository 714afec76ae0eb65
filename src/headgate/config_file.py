"""Reads a configuration from a file and the environment, and says where each value came from.

Every problem is reported, not only the first, with its key and line. No message repeats a secret or
anything that came from the environment. Loads pydantic, so `config.py` imports this when asked to.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headgate.config import Config
from headgate.config_file_model import leaves, settings
from headgate.config_file_rules import broken, warnings
from headgate.config_file_seed import from_runtime_settings
from headgate.config_file_text import Document, Expanded, Tree, dotted, expand, parse
from headgate.config_file_text import Path as KeyPath
from headgate.errors import ConfigError, Problem

CONFIG_VARIABLE = "HEADGATE_CONFIG"
DEFAULT_ORIGIN = "default"
_OVERRIDES: dict[KeyPath, str] = {
    ("server", "host"): "HEADGATE_SERVER_HOST",
    ("server", "admin_token"): "HEADGATE_ADMIN_TOKEN",
}
# Kinds of providers whose SDK has names for its own variables: OPENAI_API_KEY, OPENAI_BASE_URL.
_SDK_KINDS = ("openai", "anthropic")
_FAKE_NOTE = "no provider is configured: the built-in fake provider answers"


class Loaded(NamedTuple):
    """A configuration and where it came from."""

    config: Config
    origins: dict[str, str]
    """Each key as TOML writes it, to `default`, `FILE:LINE` or `environment VARIABLE`."""
    file: Path | None
    notes: list[str]
    """Lines for people: which providers were chosen where the file names none, and `warnings`."""


class _Sources(NamedTuple):
    """The values of a file, and of the variables that win over it, with their places."""

    document: Document
    file: str
    overlay: Tree
    variables: dict[KeyPath, str]

    def problem(self, path: KeyPath, message: str) -> Problem:
        variable = self.variables.get(path)
        if variable is None:
            return Problem(dotted(path), message, self.document.line(path))
        return Problem(dotted(path), f"{message} (from the environment variable {variable})")

    def origin(self, path: KeyPath) -> str:
        if path in self.variables:
            return f"environment {self.variables[path]}"
        if _has(self.document.tree, path):
            return f"{self.file}:{self.document.line(path)}"
        return DEFAULT_ORIGIN


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration in a TOML file; `${VAR}` is taken from `environment` (default: the
    process's own).

    Raises ConfigError with every problem found.
    """
    sources = _Sources(_read(path), str(path), {}, {})
    return _config(sources, os.environ if environment is None else environment)


def content_of(path: Path) -> bytes:
    """What a file holds. Raises ConfigError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}")], str(path)) from None


def load_or_default(
    path: Path | None,
    environment: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Loaded:
    """What a command runs with: the file at `path`, else the one HEADGATE_CONFIG names, else none.
    `content` is what the file holds, for who has read it.

    HEADGATE_SERVER_HOST and HEADGATE_ADMIN_TOKEN win over the file. Providers that the file does
    not configure come from the environment: OPENAI_API_KEY (with OPENAI_BASE_URL) and
    ANTHROPIC_API_KEY (with ANTHROPIC_BASE_URL); without any, the fake provider answers. Empty
    variables count as absent. Raises ConfigError with every problem found.
    """
    variables = os.environ if environment is None else environment
    if path is None and variables.get(CONFIG_VARIABLE):
        path = Path(variables[CONFIG_VARIABLE])
    document = _read(path, content) if path else Document({}, {})
    has_providers = bool(document.tree.get("providers"))
    overlay, taken = _overlay(variables, with_providers=not has_providers)
    sources = _Sources(document, str(path or ""), overlay, taken)
    config = _config(sources, variables)
    notes = [*([] if has_providers else [_providers_note(taken)]), *warnings(config)]
    origins = {dotted(leaf.path): sources.origin(leaf.path) for leaf in leaves(config)}
    return Loaded(config, origins, path, notes)


def _read(path: Path, content: bytes | None = None) -> Document:
    try:
        text = (content_of(path) if content is None else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem("", "not TOML: not UTF-8", line)], str(path)) from None
    document = parse(text)
    if isinstance(document, Problem):
        raise ConfigError([document], str(path))
    return document


def _config(sources: _Sources, environment: Mapping[str, str]) -> Config:
    tree, missing = expand(sources.document.tree, environment)
    tree = _merged(tree, sources.overlay)
    config, wrong = settings(tree)
    # What could not be expanded is empty now, and would only be reported once more.
    known = {path for path, _ in missing}
    others = [found for found in (*wrong, *broken(tree)) if found[0] not in known]
    problems = [sources.problem(*found) for found in (*missing, *others)]
    if config is None or problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0), sources.file)
    return config


def _overlay(
    environment: Mapping[str, str], *, with_providers: bool
) -> tuple[Tree, dict[KeyPath, str]]:
    """The settings that variables make, and which variable made each."""
    variables = dict(_OVERRIDES)
    for kind in _SDK_KINDS if with_providers else ():
        if environment.get(f"{kind.upper()}_API_KEY"):
            variables["providers", kind, "api_key"] = f"{kind.upper()}_API_KEY"
            variables["providers", kind, "base_url"] = f"{kind.upper()}_BASE_URL"
    taken = {path: name for path, name in variables.items() if environment.get(name)}
    overlay: Tree = {}
    for path, name in taken.items():
        _put(overlay, path, Expanded(environment[name]))
    for kind in overlay.get("providers", {}):
        _put(overlay, ("providers", kind, "kind"), kind)
        taken["providers", kind, "kind"] = f"{kind.upper()}_API_KEY"
    if with_providers and "providers" not in overlay:
        _put(overlay, ("providers", "fake", "kind"), "fake")
    return overlay, taken


def _providers_note(taken: Mapping[KeyPath, str]) -> str:
    keys = [f"{path[1]} ({name})" for path, name in taken.items() if path[-1] == "api_key"]
    return f"providers from the environment: {', '.join(keys)}" if keys else _FAKE_NOTE


def _put(tree: Tree, path: KeyPath, value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _merged(tree: Tree, overlay: Tree) -> Tree:
    """`tree` with the values of `overlay`; a section that is no table stays, to be reported."""
    merged = dict(tree)
    for key, value in overlay.items():
        if not isinstance(value, dict):
            merged[key] = value
        elif isinstance(tree.get(key, {}), dict):
            merged[key] = _merged(tree.get(key, {}), value)
    return merged


def _has(tree: Any, path: Iterable[str]) -> bool:
    for part in path:
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True


__all__ = ["Loaded", "from_runtime_settings", "load", "load_or_default", "warnings"]
