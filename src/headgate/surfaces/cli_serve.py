"""`headgate serve`: the gateway in the foreground, until a signal ends it."""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from headgate.config import Config
from headgate.surfaces import terminal


class LogFormat(StrEnum):
    """How the gateway writes down what happens."""

    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(serve)


def serve(
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file; default: $HEADGATE_CONFIG, else the environment."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes.")] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="Lines for people, or JSON, one object for each.")
    ] = None,
) -> None:
    """Run the gateway (default http://127.0.0.1:4000) until SIGTERM or Ctrl-C."""
    files = importlib.import_module("headgate.config_file")
    server = importlib.import_module("headgate.surfaces.server")
    reload = importlib.import_module("headgate.surfaces.reload")
    loaded = files.load_or_default(config, os.environ)
    changed: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    if log_format is not None:
        changed["log_format"] = log_format.value
    given = {name: value for name, value in changed.items() if value is not None}
    settings: Config = replace(loaded.config, server=replace(loaded.config.server, **given))

    def announce(url: str) -> str:
        return "\n".join(_greeting(url, settings, loaded))

    try:
        server.serve(settings, reload.Source(loaded.file, given), announce)
    except OSError as error:
        address = f"{settings.server.host}:{settings.server.port}"
        # Python's own text ends with the address once more.
        reason = (error.strerror or str(error)).partition(" (while attempting")[0]
        terminal.fail(f"cannot listen on {address}: {reason}; choose another with --host, --port")


def _greeting(url: str, config: Config, loaded: Any) -> list[str]:
    """What is served, from where, and how to use it."""
    source = f"configuration {loaded.file}" if loaded.file else "no configuration file"
    lines = [f"headgate serves {url} ({source}; Ctrl-C ends it)"]
    for name, provider in sorted(config.providers.items()):
        if provider.kind == "fake":
            where = "built in: invented answers, offline"
        else:
            credential = "key configured" if provider.api_key else "the client's credential"
            where = f"{provider.base_url or 'the vendor'}, {credential}"
        lines.append(f"  provider {name}: {provider.kind}, {where}")
    lines.append(f"  cache: {_cache_line(config)}")
    lines += [f"  note: {note}" for note in loaded.notes]
    lines.append(f"  OpenAI SDK: base_url={url}/v1   Anthropic SDK: base_url={url}")
    return lines


def _cache_line(config: Config) -> str:
    cache = config.cache
    if not cache.enabled:
        return "off"
    kept = f"{cache.maxsize} entries in memory"
    return f"{kept}, and on disk in {cache.persist_path}" if cache.persist else kept
