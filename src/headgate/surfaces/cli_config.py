"""`headgate init`, `check` and `config`: the configuration, before anything is served."""

from __future__ import annotations

import importlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from headgate.clock import SystemClock
from headgate.errors import ConfigError
from headgate.surfaces import terminal

FILE = Path("headgate.toml")
ConfigOption = Annotated[
    Path | None, typer.Option(help="TOML file; default: $HEADGATE_CONFIG, else the environment.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document and nothing else.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command()(init)
    app.command()(check)
    group = typer.Typer(help="What can be configured, and what is.", no_args_is_help=True)
    group.command()(schema)
    group.command()(explain)
    app.add_typer(group, name="config")


def init(file: Annotated[Path, typer.Argument(help="Where to write it.")] = FILE) -> None:
    """Write a commented headgate.toml; an existing file stays as it is."""
    text = importlib.import_module("headgate.config_file_show").commented_file()
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        terminal.fail(f"{file} exists: headgate init writes new files only")
    terminal.say(f"wrote {file}: every line in it shows a default")
    terminal.say(f"go on with: headgate check --config {file}")
    terminal.say(f"            headgate serve --config {file}")


def check(config: ConfigOption = None) -> None:
    """Validate everything, open no port; exit status 2 and one line per problem if wrong."""
    loaded = _loaded(config)
    server = importlib.import_module("headgate.surfaces.server")
    try:
        server.check_exposure(loaded.config)
    except ConfigError as error:
        raise ConfigError(error.problems, str(loaded.file or "")) from None
    keys = importlib.import_module("headgate.surfaces.exposure").key_notes(loaded.config)
    notes = [*loaded.notes, *_doubts(loaded), *_unpriced(loaded.config), *keys]
    for note in [*notes, *_stale(loaded.config)]:
        terminal.warn(f"note: {note}")
    terminal.say(f"ok: {loaded.file or 'no file; defaults and environment'}")


def schema() -> None:
    """Print the JSON schema of headgate.toml, for editors."""
    terminal.emit_json(importlib.import_module("headgate.config_file_show").schema())


def explain(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print every effective setting and where its value came from; secrets as ***."""
    loaded = _loaded(config)
    rows = importlib.import_module("headgate.config_file_show").effective(loaded)
    if as_json:
        named = {
            key: {"value": json.loads(value or "null"), "origin": origin}
            for key, value, origin in rows
        }
        terminal.emit_json({"file": loaded.file and str(loaded.file), "settings": named})
        return
    terminal.table("", ("setting", "value", "origin"), rows)
    for note in loaded.notes:
        terminal.warn(f"note: {note}")


def _loaded(config: Path | None) -> Any:
    return importlib.import_module("headgate.config_file").load_or_default(config, os.environ)


def _unpriced(config: Any) -> list[str]:
    """The configured models whose calls will cost nobody knows what."""
    if not config.models:
        return []
    names = importlib.import_module("headgate.pricing").unpriced(config)
    text = "no price is known: calls are counted as unpriced, not as free"
    return [f'prices."{name}": {text}' for name in names]


def _stale(config: Any) -> list[str]:
    """What is known of batch APIs for so long that it may be wrong."""
    today = datetime.fromtimestamp(SystemClock().wall(), UTC).date()
    limits = importlib.import_module("headgate.jobs.limits")
    lines: list[str] = limits.stale(today, config.providers, config.batch_api)
    return lines


def _doubts(loaded: Any) -> list[str]:
    """What only a look at the disk can tell."""
    cache = loaded.config.cache
    folder = Path(cache.persist_path).resolve().parent
    if not (cache.enabled and cache.persist) or folder.is_dir():
        return []
    return [f"cache.persist_path: no folder {folder}; entries would be kept in memory only"]
