"""`headgate version`."""

from __future__ import annotations

import platform
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from headgate.surfaces import terminal

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document and nothing else.")]


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(version)


def version(as_json: JsonOption = False) -> None:
    """The versions of headgate and of the Python it runs on."""
    versions = {"headgate": version_of("headgate"), "python": platform.python_version()}
    if as_json:
        terminal.emit_json(versions)
    else:
        terminal.say(f"headgate {versions['headgate']} (Python {versions['python']})")
